{{/*
settings.yaml: what the chart sets, and what its users set besides. The same for sidecars and desk; what differs is in
their environment.
*/}}

{{- define "remit.settings" -}}
{{- $ours := include "remit.settings.ours" . | fromYaml }}
{{- dict "sidecar" (mustMergeOverwrite (deepCopy (.Values.settings | default dict)) $ours) | toYaml }}
{{- end }}

{{- define "remit.settings.ours" -}}
limits: {drain_seconds: {{ .Values.sidecar.drainSeconds }}}
kubernetes:
  audience: {{ .Values.identity.audience | quote }}
  {{- with .Values.identity.issuer }}
  issuer: {{ . | quote }}
  {{- end }}
  {{- with .Values.identity.api }}
  api: {{ . | quote }}
  {{- end }}
{{- if not .Values.store.embedded.enabled }}
keys: /etc/remit/keys
store:
  url: {{ .Values.store.postgres.url | quote }}
  password_file: /etc/remit/store/password
  allotments: {{ .Values.store.allotments }}
{{- end }}
{{- if .Values.policies }}
policies: [/etc/remit/policies]
{{- end }}
{{- if .Values.bundle.url }}
bundle:
  url: {{ .Values.bundle.url | quote }}
  key: /etc/remit/config/bundle.pem
  {{- if .Values.bundle.ca }}
  ca: /etc/remit/config/bundle-ca.pem
  {{- end }}
  {{- if .Values.bundle.tokenSecret }}
  token_file: /etc/remit/bundle/token
  {{- end }}
  poll_seconds: {{ .Values.bundle.pollSeconds }}
{{- end }}
{{- end }}

{{- /* The catalogue as text: YAML. */}}
{{- define "remit.catalogue" -}}
{{- .Values.catalogueText | default (.Values.catalogue | default dict | toYaml) | trim }}
{{- end }}
