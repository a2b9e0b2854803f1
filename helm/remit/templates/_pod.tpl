{{/*
The parts of a governed pod, as data (YAML). What injects them, what compares them and what pods include by hand are all
made of these, so that they cannot differ. Fields that the API server would fill in are written out: what is compared is
then the whole.
*/}}

{{- define "remit.pod.containers" -}}
{{- if eq .Values.lockdown.mode "init" }}
- {{- include "remit.pod.lockdown" . | nindent 2 }}
{{- end }}
- {{- include "remit.pod.sidecar" . | nindent 2 }}
{{- end }}

{{- define "remit.pod.lockdown" -}}
name: remit-lockdown
image: {{ include "remit.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: [lockdown, --sidecar, {{ .Values.sidecar.runAsUser | toString | quote }}{{ range list 7450 7451 7452 7453 .Values.sidecar.opsPort }}, --port, {{ . | toString | quote }}{{ end }}]
resources:
  requests: {cpu: 10m, memory: 64Mi}
  limits: {memory: 128Mi}
securityContext:
  runAsUser: 0
  runAsGroup: 0
  runAsNonRoot: false
  privileged: false
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL], add: [NET_ADMIN]}
  seccompProfile: {type: RuntimeDefault}
terminationMessagePath: /dev/termination-log
terminationMessagePolicy: FallbackToLogsOnError
{{- /* What lies at this path keeps the API server from putting the pod's token there, which this one needs least of all. */}}
volumeMounts:
  - {name: remit-config, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
{{- end }}

{{- define "remit.pod.sidecar" -}}
name: remit
image: {{ include "remit.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
restartPolicy: Always
args: [up, {{ .Values.sidecar.egress | ternary "--egress" "--no-egress" }}]
env:
  - {name: REMIT_CATALOGUE, value: /etc/remit/config}
  - {name: REMIT_STATE, value: /var/lib/remit/state}
  - {name: TMPDIR, value: /var/lib/remit}
  - {name: REMIT_SOCKET, value: "off"}
  - {name: REMIT_OPS, value: "0.0.0.0:{{ .Values.sidecar.opsPort }}"}
  - {name: REMIT_KUBERNETES_TOKEN_FILE, value: /var/run/remit/token}
ports:
  - {name: remit-ops, containerPort: {{ .Values.sidecar.opsPort }}, protocol: TCP}
{{- /* Not before it decides does the agent start; while it cannot decide, nobody is sent to the pod. */}}
startupProbe: {httpGet: {path: /readyz, port: {{ .Values.sidecar.opsPort }}, scheme: HTTP}, periodSeconds: 1, timeoutSeconds: 2, successThreshold: 1, failureThreshold: 120}
readinessProbe: {httpGet: {path: /readyz, port: {{ .Values.sidecar.opsPort }}, scheme: HTTP}, periodSeconds: 5, timeoutSeconds: 2, successThreshold: 1, failureThreshold: 2}
livenessProbe: {httpGet: {path: /healthz, port: {{ .Values.sidecar.opsPort }}, scheme: HTTP}, periodSeconds: 10, timeoutSeconds: 5, successThreshold: 1, failureThreshold: 6}
resources:
  {{- toYaml .Values.sidecar.resources | nindent 2 }}
securityContext:
  runAsUser: {{ .Values.sidecar.runAsUser }}
  runAsGroup: {{ .Values.sidecar.runAsUser }}
  runAsNonRoot: true
  privileged: false
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
terminationMessagePath: /dev/termination-log
terminationMessagePolicy: FallbackToLogsOnError
volumeMounts:
  - {name: remit-state, mountPath: /var/lib/remit}
  {{- range (include "remit.pod.volumes" . | fromYamlArray) }}
  {{- if ne .name "remit-state" }}
  - {name: {{ .name }}, mountPath: {{ include "remit.pod.path" .name }}, readOnly: true}
  {{- end }}
  {{- end }}
{{- end }}

{{- define "remit.pod.path" -}}
{{- if eq . "remit-token" -}} /var/run/remit
{{- else if eq . "remit-api" -}} /var/run/secrets/kubernetes.io/serviceaccount
{{- else if hasPrefix "remit-credential-" . -}} /etc/remit/credentials/{{ trimPrefix "remit-credential-" . }}
{{- else -}} /etc/remit/{{ trimPrefix "remit-" . }}
{{- end }}
{{- end }}

{{- /* Modes are decimal: 292 is 0444. A secret's file is root's, and no other container mounts these. */}}
{{- define "remit.pod.volumes" -}}
{{- if .Values.store.embedded.enabled }}
- {name: remit-state, persistentVolumeClaim: {claimName: {{ .Values.store.embedded.claim | default "remit-state" }}}}
{{- else }}
- {name: remit-state, emptyDir: {sizeLimit: {{ .Values.sidecar.stateSize }}}}
{{- end }}
- {name: remit-config, configMap: {name: remit-config, defaultMode: 292}}
{{- if .Values.policies }}
- name: remit-policies
  configMap:
    name: remit-policies
    defaultMode: 292
    items:
      {{- range $path, $text := .Values.policies }}
      - {key: {{ include "remit.policyKey" $path }}, path: {{ $path | quote }}}
      {{- end }}
{{- end }}
{{- if not .Values.store.embedded.enabled }}
- {name: remit-keys, secret: {secretName: {{ .Values.keysSecret }}, defaultMode: 292}}
- {name: remit-store, secret: {secretName: {{ .Values.store.postgres.secret }}, defaultMode: 292}}
{{- end }}
{{- if .Values.bundle.tokenSecret }}
- {name: remit-bundle, secret: {secretName: {{ .Values.bundle.tokenSecret }}, defaultMode: 292}}
{{- end }}
{{- range $name, $secret := .Values.credentials }}
- {name: remit-credential-{{ $name }}, secret: {secretName: {{ $secret }}, defaultMode: 292}}
{{- end }}
- name: remit-token
  projected:
    defaultMode: 292
    sources:
      - serviceAccountToken: {audience: {{ .Values.identity.audience }}, expirationSeconds: {{ .Values.identity.tokenSeconds }}, path: token}
- name: remit-api
  projected:
    defaultMode: 292
    sources:
      - serviceAccountToken: {expirationSeconds: 3607, path: token}
      - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
      - downwardAPI: {items: [{path: namespace, fieldRef: {apiVersion: v1, fieldPath: metadata.namespace}}]}
{{- end }}

{{- /* What an agent's container gets. A key that it has already stays its own: nobody reads it but to remove it. */}}
{{- define "remit.pod.mount" -}}
{name: remit-token, mountPath: /var/run/remit, readOnly: true}
{{- end }}

{{- define "remit.pod.agentEnv" -}}
- {name: REMIT_ADDRESS, value: "127.0.0.1:7450"}
- {name: REMIT_TOKEN_FILE, value: /var/run/remit/token}
{{- if .Values.sidecar.egress }}
- {name: REMIT_EGRESS, value: "http://127.0.0.1:7452"}
{{- $bases := dict "openai" (dict "OPENAI_BASE_URL" "/v1") "anthropic" (dict "ANTHROPIC_BASE_URL" "") "gemini" (dict "GOOGLE_GEMINI_BASE_URL" "") "azure" (dict "AZURE_OPENAI_ENDPOINT" "") "bedrock" (dict "AWS_ENDPOINT_URL_BEDROCK_RUNTIME" "" "ANTHROPIC_BEDROCK_BASE_URL" "") }}
{{- $seen := dict }}
{{- range $service, $kind := include "remit.pod.services" . | fromYaml }}
{{- if not (hasKey $seen $kind) }}
{{- $_ := set $seen $kind true }}
{{- range $name, $ending := get $bases $kind }}
- {name: {{ $name }}, value: "http://127.0.0.1:7452/{{ $service }}{{ $ending }}"}
{{- end }}
{{- if eq $kind "openai" }}
- {name: OPENAI_AGENTS_DISABLE_TRACING, value: "1"}
{{- end }}
{{- end }}
{{- end }}
{{- range tuple "HTTP_PROXY" "HTTPS_PROXY" "http_proxy" "https_proxy" }}
- {name: {{ . }}, value: "http://127.0.0.1:7453"}
{{- end }}
{{- range tuple "NO_PROXY" "no_proxy" }}
- {name: {{ . }}, value: "127.0.0.1,localhost,::1"}
{{- end }}
{{- end }}
{{- end }}

{{- define "remit.pod.agentKeys" -}}
{{- if .Values.sidecar.egress }}
{{- $keys := dict "openai" (list "OPENAI_API_KEY") "anthropic" (list "ANTHROPIC_API_KEY") "gemini" (list "GEMINI_API_KEY") "azure" (list "AZURE_OPENAI_API_KEY") "bedrock" (list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY") }}
{{- range $kind := include "remit.pod.services" . | fromYaml | values | uniq | sortAlpha }}
{{- range get $keys $kind }}
- {name: {{ . }}, value: remit}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Services of the kinds that official clients know, by id: of the catalogue, or as told where it comes in a bundle. */}}
{{- define "remit.pod.services" -}}
{{- range $id, $service := (include "remit.catalogue" . | fromYaml).services | default dict }}
{{- if has ($service.kind | default "") (list "openai" "anthropic" "gemini" "azure" "bedrock") }}
{{ $id }}: {{ $service.kind }}
{{- end }}
{{- end }}
{{- range $id, $kind := .Values.injection.agent.services }}
{{ $id }}: {{ $kind }}
{{- end }}
{{- end }}

{{- /* What no container but Remit's may have, by name. */}}
{{- define "remit.pod.secrets" -}}
{{- range include "remit.pod.volumes" . | fromYamlArray }}
{{- if .secret }}
- {{ .secret.secretName }}
{{- end }}
{{- end }}
{{- if not .Values.store.embedded.enabled }}
- {{ .Values.store.postgres.deskSecret }}
- {{ .Values.store.migrate.secret }}
{{- end }}
{{- end }}

{{- define "remit.pod.claims" -}}
{{- if .Values.store.embedded.enabled }}
- {{ .Values.store.embedded.claim | default "remit-state" }}
{{- else -}}
[]
{{- end }}
{{- end }}
