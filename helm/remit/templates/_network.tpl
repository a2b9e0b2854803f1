{{/*
Egress rules that several NetworkPolicies have.
*/}}

{{- define "remit.network.dns" -}}
- ports:
    - {protocol: UDP, port: {{ .Values.networkPolicy.dns.port }}}
    - {protocol: TCP, port: {{ .Values.networkPolicy.dns.port }}}
  {{- with .Values.networkPolicy.dns.to }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "remit.network.postgres" -}}
- ports:
    - {protocol: TCP, port: {{ .Values.networkPolicy.postgres.port }}}
  {{- with .Values.networkPolicy.postgres.to }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "remit.network.api" -}}
- ports:
    {{- range .Values.networkPolicy.api.ports }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
  {{- with .Values.networkPolicy.api.to }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
