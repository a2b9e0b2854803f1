{{/*
Names, labels and addresses that several templates say alike. Whatever has labels is of values that fit (_validate.tpl).
*/}}

{{- /* Of every object. */}}
{{- define "remit.labels" -}}
{{- include "remit.validate" . -}}
{{ include "remit.labels.part" (dict "root" . "part" "remit") }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- /* {root, part}: what selects the pods of a part. It never changes: a Deployment's selector cannot. */}}
{{- define "remit.labels.part" -}}
app.kubernetes.io/name: remit
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- if ne .part "remit" }}
app.kubernetes.io/component: {{ .part }}
{{- end }}
{{- end }}

{{- define "remit.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{- /* The governed namespaces, as a list. */}}
{{- define "remit.namespaces" -}}
{{ .Values.namespaces | default (list .Release.Namespace) | toJson }}
{{- end }}

{{- /* "true" where pods of Remit's own, which no label governs, have secrets in the release's namespace; else nothing. */}}
{{- define "remit.apart" -}}
{{- if and (not .Values.store.embedded.enabled) (or .Values.desk.enabled .Values.store.migrate.enabled) }}true{{ end }}
{{- end }}

{{- /* Where settings, catalogue and policies are read: there, and where the desk is. */}}
{{- define "remit.namespaces.configured" -}}
{{- $namespaces := include "remit.namespaces" . | fromYamlArray }}
{{- if .Values.desk.enabled }}{{ $namespaces = append $namespaces .Release.Namespace | uniq }}{{ end }}
{{- toJson $namespaces }}
{{- end }}

{{- /* A policy's path as the key of a ConfigMap: no name in a path has two dots, so no two paths have one key. */}}
{{- define "remit.policyKey" -}}
{{ replace "/" ".." . }}
{{- end }}

{{- define "remit.admissionVersion" -}}
{{- $group := "admissionregistration.k8s.io" }}
{{- if ne .Values.injection.policy "auto" -}}
{{ $group }}/{{ .Values.injection.policy }}
{{- else if or (.Capabilities.APIVersions.Has (printf "%s/v1/MutatingAdmissionPolicy" $group)) (semverCompare ">=1.36-0" .Capabilities.KubeVersion.Version) -}}
{{ $group }}/v1
{{- else if .Capabilities.APIVersions.Has (printf "%s/v1beta1/MutatingAdmissionPolicy" $group) -}}
{{ $group }}/v1beta1
{{- else -}}
{{ fail "remit: this cluster serves no MutatingAdmissionPolicy (it came with 1.36; in 1.34 and 1.35 it is to be switched on). Expected injection.policy: none, and pods that carry the sidecar themselves (docs/kubernetes.md)" }}
{{- end }}
{{- end }}

{{- /* What desk and migration are alike in: of the pod, and of its one container. */}}
{{- define "remit.ours.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - {name: {{ . | quote }}}
  {{- end }}
{{- end }}
{{- with .Values.desk.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.desk.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsUser: 7450
  runAsGroup: 7450
  runAsNonRoot: true
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "remit.ours.container" -}}
image: {{ include "remit.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
terminationMessagePolicy: FallbackToLogsOnError
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}
