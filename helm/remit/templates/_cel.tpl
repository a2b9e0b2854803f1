{{/*
Data as CEL (the language of admission policies): `remit.cel.typed` writes it as an object of the API's types, for a patch;
`remit.cel.same` as the condition that something is it, and has nothing besides.
*/}}

{{- /* {value, type}: type is the name of the value's type, or of its items'. */}}
{{- define "remit.cel.typed" -}}
{{- $type := .type }}
{{- if kindIs "map" .value }}
{{- $free := has (splitList "." $type | last) (list "limits" "requests") }}
{{- if not $free }}{{ $type }}{{ end }}{
{{- range $i, $key := keys .value | sortAlpha }}{{ if $i }}, {{ end }}
{{- if $free }}{{ $key | toJson }}{{ else }}{{ $key }}{{ end }}: {{ include "remit.cel.typed" (dict "value" (get $.value $key) "type" (printf "%s.%s" $type $key)) }}
{{- end }}}
{{- else if kindIs "slice" .value -}}
[{{ range $i, $item := .value }}{{ if $i }}, {{ end }}{{ include "remit.cel.typed" (dict "value" $item "type" $type) }}{{ end }}]
{{- else if kindIs "float64" .value }}{{ int64 .value }}
{{- else }}{{ toJson .value }}
{{- end }}
{{- end }}

{{- /* {value, at, type, fields}: `at` is what is compared, `type` its place in a pod, such as containers.env, `fields` those of remit.cel.fields. */}}
{{- define "remit.cel.same" -}}
{{- $at := .at }}{{ $type := .type }}
{{- if kindIs "map" .value }}
{{- $conditions := list }}
{{- if has (splitList "." $type | last) (list "limits" "requests") }}
{{- $conditions = append $conditions (printf "size(%s) == %d" $at (len .value)) }}
{{- range $key := keys .value | sortAlpha }}
{{- $conditions = append $conditions (printf "%s in %s && quantity(%s[%s]).compareTo(quantity(%s)) == 0" ($key | toJson) $at $at ($key | toJson) (get $.value $key | toString | toJson)) }}
{{- end }}
{{- else }}
{{- range $key := keys .value | sortAlpha }}
{{- $field := printf "%s.%s" $at $key }}
{{- $conditions = append $conditions (printf "has(%s) && %s" $field (include "remit.cel.same" (dict "value" (get $.value $key) "at" $field "type" (printf "%s.%s" $type $key) "fields" $.fields))) }}
{{- end }}
{{- range $key := get .fields $type | default list }}
{{- if not (hasKey $.value $key) }}
{{- $conditions = append $conditions (printf "!has(%s.%s)" $at $key) }}
{{- end }}
{{- end }}
{{- end }}
{{- join " && " $conditions }}
{{- else if kindIs "slice" .value }}
{{- $conditions := list (printf "size(%s) == %d" $at (len .value)) }}
{{- range $i, $item := .value }}
{{- $conditions = append $conditions (include "remit.cel.same" (dict "value" $item "at" (printf "%s[%d]" $at $i) "type" $type "fields" $.fields)) }}
{{- end }}
{{- join " && " $conditions }}
{{- else if hasSuffix ".sizeLimit" $type }}
{{- printf "quantity(%s).compareTo(quantity(%s)) == 0" $at (.value | toString | toJson) }}
{{- else if kindIs "float64" .value }}
{{- printf "%s == %d" $at (int64 .value) }}
{{- else }}
{{- printf "%s == %s" $at (toJson .value) }}
{{- end }}
{{- end }}

{{- /* All fields that the API (1.37) has there: what is not in our data must not be in the pod either. A test holds it to
the API's own description. */}}
{{- define "remit.cel.fields" -}}
containers: [args, command, env, envFrom, image, imagePullPolicy, lifecycle, livenessProbe, name, ports, readinessProbe, resizePolicy, resources, restartPolicy, restartPolicyRules, securityContext, startupProbe, stdin, stdinOnce, terminationMessagePath, terminationMessagePolicy, tty, volumeDevices, volumeMounts, workingDir]
containers.env: [name, value, valueFrom]
containers.livenessProbe: [exec, failureThreshold, grpc, httpGet, initialDelaySeconds, periodSeconds, successThreshold, tcpSocket, terminationGracePeriodSeconds, timeoutSeconds]
containers.livenessProbe.httpGet: [host, httpHeaders, path, port, protocol, scheme]
containers.ports: [containerPort, hostIP, hostPort, name, protocol]
containers.readinessProbe: [exec, failureThreshold, grpc, httpGet, initialDelaySeconds, periodSeconds, successThreshold, tcpSocket, terminationGracePeriodSeconds, timeoutSeconds]
containers.readinessProbe.httpGet: [host, httpHeaders, path, port, protocol, scheme]
containers.resources: [claims, limits, requests]
containers.securityContext: [allowPrivilegeEscalation, appArmorProfile, capabilities, privileged, procMount, readOnlyRootFilesystem, runAsGroup, runAsNonRoot, runAsUser, seLinuxOptions, seccompProfile, windowsOptions]
containers.securityContext.capabilities: [add, drop]
containers.securityContext.seccompProfile: [localhostProfile, type]
containers.startupProbe: [exec, failureThreshold, grpc, httpGet, initialDelaySeconds, periodSeconds, successThreshold, tcpSocket, terminationGracePeriodSeconds, timeoutSeconds]
containers.startupProbe.httpGet: [host, httpHeaders, path, port, protocol, scheme]
containers.volumeMounts: [bindMountOptions, mountPath, mountPropagation, name, readOnly, recursiveReadOnly, subPath, subPathExpr]
volumes: [awsElasticBlockStore, azureDisk, azureFile, cephfs, cinder, configMap, csi, downwardAPI, emptyDir, ephemeral, fc, flexVolume, flocker, gcePersistentDisk, gitRepo, glusterfs, hostPath, image, iscsi, name, nfs, persistentVolumeClaim, photonPersistentDisk, portworxVolume, projected, quobyte, rbd, scaleIO, secret, storageos, vsphereVolume]
volumes.configMap: [defaultMode, defaultUser, items, name, optional]
volumes.configMap.items: [key, mode, path, user]
volumes.emptyDir: [medium, mode, sizeLimit]
volumes.persistentVolumeClaim: [claimName, readOnly]
volumes.projected: [defaultMode, defaultUser, sources]
volumes.projected.sources: [clusterTrustBundle, configMap, downwardAPI, podCertificate, secret, serviceAccountToken]
volumes.projected.sources.configMap: [items, name, optional]
volumes.projected.sources.configMap.items: [key, mode, path, user]
volumes.projected.sources.downwardAPI: [items]
volumes.projected.sources.downwardAPI.items: [fieldRef, mode, path, resourceFieldRef, user]
volumes.projected.sources.downwardAPI.items.fieldRef: [apiVersion, fieldPath]
volumes.projected.sources.serviceAccountToken: [audience, expirationSeconds, path, user]
volumes.secret: [defaultMode, defaultUser, items, optional, secretName]
{{- end }}

{{- /* That a volume `v` has nothing of Remit's, whichever way a volume names a Secret. */}}
{{- define "remit.cel.foreign" -}}
{{- $secrets := include "remit.pod.secrets" . | fromYamlArray | toJson | replace "\"" "'" }}
{{- $conditions := list
  (printf "!(has(v.secret) && has(v.secret.secretName) && v.secret.secretName in %s)" $secrets)
  (printf "!(has(v.projected) && has(v.projected.sources) && v.projected.sources.exists(s, has(s.secret) && has(s.secret.name) && s.secret.name in %s))" $secrets)
  (printf "!(has(v.csi) && has(v.csi.nodePublishSecretRef) && has(v.csi.nodePublishSecretRef.name) && v.csi.nodePublishSecretRef.name in %s)" $secrets)
  (printf "!(has(v.azureFile) && v.azureFile.secretName in %s)" $secrets)
  (printf "!(has(v.persistentVolumeClaim) && v.persistentVolumeClaim.claimName in %s)" (include "remit.pod.claims" . | fromYamlArray | toJson | replace "\"" "'")) }}
{{- range $kind := list "cephfs" "cinder" "flexVolume" "iscsi" "rbd" "scaleIO" "storageos" }}
{{- $conditions = append $conditions (printf "!(has(v.%s) && has(v.%s.secretRef) && has(v.%s.secretRef.name) && v.%s.secretRef.name in %s)" $kind $kind $kind $kind $secrets) }}
{{- end }}
{{- join " && " $conditions }}
{{- end }}

{{- /* That a security context leaves on what a node confines containers by. The types are those of Pod Security. */}}
{{- define "remit.cel.confined" -}}
!(has({{ . }}.appArmorProfile) && {{ . }}.appArmorProfile.type == 'Unconfined') && !(has({{ . }}.seLinuxOptions) && (has({{ . }}.seLinuxOptions.user) || has({{ . }}.seLinuxOptions.role) || has({{ . }}.seLinuxOptions.type) && !({{ . }}.seLinuxOptions.type in ['container_t', 'container_init_t', 'container_kvm_t', 'container_engine_t'])))
{{- end }}

{{- /* That a container `c` has its node neither listen nor dial for it. */}}
{{- define "remit.cel.undialled" -}}
{{- $conditions := list "(!has(c.ports) || c.ports.all(p, !has(p.hostPort) || p.hostPort == 0))" }}
{{- range $at := list "livenessProbe" "readinessProbe" "startupProbe" "lifecycle.postStart" "lifecycle.preStop" }}
{{- $has := hasPrefix "lifecycle." $at | ternary (printf "has(c.lifecycle) && has(c.%s)" $at) (printf "has(c.%s)" $at) }}
{{- range $way := list "httpGet" "tcpSocket" }}
{{- $conditions = append $conditions (printf "!(%s && has(c.%s.%s) && has(c.%s.%s.host) && c.%s.%s.host != '')" $has $at $way $at $way $at $way) }}
{{- end }}
{{- end }}
{{- join " && " $conditions }}
{{- end }}
