{{- /* The order among what the hook needs; all goes once it has succeeded, and is there to be looked at where it has not. */}}
{{- define "remit.migrate.hook" -}}
helm.sh/hook: pre-install,pre-upgrade
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
