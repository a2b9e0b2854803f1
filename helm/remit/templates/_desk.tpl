{{/*
The desk's parts.
*/}}

{{- /* Names that it is called by: people's, and those of its Service. */}}
{{- define "remit.desk.names" -}}
{{- $service := printf "%s-desk" .Release.Name }}
{{- $own := list $service (printf "%s.%s" $service .Release.Namespace) (printf "%s.%s.svc" $service .Release.Namespace) }}
{{- concat (.Values.desk.certificate.dnsNames | default list) $own | uniq | toJson }}
{{- end }}

{{- define "remit.desk.names.certified" -}}
{{- if .Values.desk.certificate.serviceNames }}{{ include "remit.desk.names" . }}{{ else }}{{ toJson .Values.desk.certificate.dnsNames }}{{ end }}
{{- end }}

{{- /* Each is at /etc/remit/NAME. Modes are decimal: 292 is 0444, for a user who is not the files' owner. */}}
{{- define "remit.desk.volumes" -}}
- {name: config, configMap: {name: remit-config, defaultMode: 292}}
{{- if .Values.policies }}
- name: policies
  configMap:
    name: remit-policies
    defaultMode: 292
    items:
      {{- range $path, $text := .Values.policies }}
      - {key: {{ include "remit.policyKey" $path | quote }}, path: {{ $path | quote }}}
      {{- end }}
{{- end }}
- {name: keys, secret: {secretName: {{ .Values.keysSecret }}, defaultMode: 292}}
- {name: store, secret: {secretName: {{ .Values.store.postgres.deskSecret }}, defaultMode: 292}}
- {name: desk, secret: {secretName: {{ .Values.desk.tlsSecret }}, defaultMode: 292}}
{{- with .Values.bundle.tokenSecret }}
- {name: bundle, secret: {secretName: {{ . }}, defaultMode: 292}}
{{- end }}
{{- with (.Values.desk.oidc).clientSecret }}
- {name: oidc, secret: {secretName: {{ . }}, defaultMode: 292}}
{{- end }}
{{- with .Values.desk.webhookSecret }}
- {name: webhook, secret: {secretName: {{ . }}, defaultMode: 292}}
{{- end }}
{{- end }}

{{- define "remit.desk.env" -}}
- {name: REMIT_CATALOGUE, value: /etc/remit/config}
- {name: REMIT_STATE, value: /var/lib/remit/state}
- {name: TMPDIR, value: /var/lib/remit}
- {name: REMIT_STORE_URL, value: {{ .Values.store.postgres.deskUrl | quote }}}
- {name: REMIT_OPS, value: "0.0.0.0:{{ .Values.sidecar.opsPort }}"}
- {name: REMIT_DESK_GRPC, value: "0.0.0.0:7460"}
- {name: REMIT_DESK_HTTP, value: "0.0.0.0:7461"}
- {name: REMIT_DESK_TLS_CERT, value: /etc/remit/desk/tls.crt}
- {name: REMIT_DESK_TLS_KEY, value: /etc/remit/desk/tls.key}
- {name: REMIT_DESK_HOSTS, value: {{ include "remit.desk.names" . | fromYamlArray | join "," | quote }}}
{{- with .Values.desk.publicUrl }}
- {name: REMIT_DESK_PUBLIC_URL, value: {{ . | quote }}}
{{- end }}
{{- with .Values.desk.oidc }}
- {name: REMIT_DESK_OIDC_ISSUER, value: {{ .issuer | quote }}}
- {name: REMIT_DESK_OIDC_CLIENT_ID, value: {{ .clientId | quote }}}
{{- if .clientSecret }}
- {name: REMIT_DESK_OIDC_CLIENT_SECRET_FILE, value: /etc/remit/oidc/secret}
{{- end }}
{{- with .claim }}
- {name: REMIT_DESK_OIDC_CLAIM, value: {{ . | quote }}}
{{- end }}
{{- end }}
{{- with .Values.desk.webhookSecret }}
- {name: REMIT_APPROVALS_WEBHOOK_URL, valueFrom: {secretKeyRef: {name: {{ . }}, key: url}}}
- {name: REMIT_APPROVALS_WEBHOOK_SECRET_FILE, value: /etc/remit/webhook/secret}
{{- end }}
{{- end }}
