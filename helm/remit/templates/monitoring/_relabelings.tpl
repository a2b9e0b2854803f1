{{- /*
{root, job}: one target a pod, at its address and the ops port, whatever ports its containers name. Prometheus finds a
target for each container and port; with one address and the same labels they are one. `job` is what the alerts know.
*/}}
{{- define "remit.relabelings" -}}
- {action: replace, sourceLabels: [__meta_kubernetes_pod_ip], regex: "([^:]+)", replacement: "$1:{{ .root.Values.sidecar.opsPort }}", targetLabel: __address__}
- {action: replace, sourceLabels: [__meta_kubernetes_pod_ip], regex: "(.*:.*)", replacement: "[$1]:{{ .root.Values.sidecar.opsPort }}", targetLabel: __address__}
- {action: labeldrop, regex: container|endpoint}
- {action: replace, replacement: {{ .job }}, targetLabel: job}
- {action: replace, replacement: {{ .root.Release.Namespace }}/{{ .root.Release.Name }}, targetLabel: installation}
{{- end }}
