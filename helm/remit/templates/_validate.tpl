{{/*
What values.schema.json cannot say, or could only say by repeating a value that may be a secret. Everything that is wrong
is told at once.
*/}}

{{- define "remit.validate" -}}
{{- $wrong := concat
  (include "remit.validate.store" . | fromYamlArray)
  (include "remit.validate.policy" . | fromYamlArray)
  (include "remit.validate.settings" . | fromYamlArray)
  (include "remit.validate.rest" . | fromYamlArray) }}
{{- if $wrong }}
{{- fail (printf "\nremit: these values cannot be installed:\n  - %s\n" (join "\n  - " $wrong)) }}
{{- end }}
{{- end }}

{{- define "remit.validate.store" -}}
{{- $wrong := list }}
{{- with .Values.store }}
{{- $embedded := .embedded.enabled }}
{{- range $key := list "postgres.url" "postgres.deskUrl" "migrate.url" }}
{{- $parts := splitList "." $key }}
{{- $url := get (get $.Values.store (first $parts)) (last $parts) }}
{{- if $url }}
{{- if or (regexMatch "^[^/]*//[^/@]*:[^/]*@" $url) (regexMatch "[?&](password|passfile|sslpassword)=" $url) }}
{{- $wrong = append $wrong (printf "store.%s: found a password in the URL (not shown); expected none: it is in a Secret, under the key password" $key) }}
{{- else if not (regexMatch "^postgres(ql)?://[^@/]+@[^/?]+/[^/?]+([?].*)?$" $url) }}
{{- $wrong = append $wrong (printf "store.%s: found another URL (not shown); expected postgresql://ROLE@HOST:PORT/DATABASE" $key) }}
{{- end }}
{{- end }}
{{- end }}
{{- if $embedded }}
{{- if or .postgres.url .postgres.deskUrl .migrate.url }}
{{- $wrong = append $wrong "store: found PostgreSQL and the embedded store; expected one of them (store.postgres.url, or store.embedded.enabled)" }}
{{- end }}
{{- if ne (int64 .embedded.replicas) 1 }}
{{- $wrong = append $wrong (printf "store.embedded.replicas: found %v; expected 1: a store in a file is one pod's. More pods share PostgreSQL (store.postgres.url)" .embedded.replicas) }}
{{- end }}
{{- if $.Values.desk.enabled }}
{{- $wrong = append $wrong "desk.enabled: found true with the embedded store; expected false: its one sidecar serves people itself (settings.console: true)" }}
{{- end }}
{{- if gt (len ($.Values.namespaces | default list)) 1 }}
{{- $wrong = append $wrong (printf "namespaces: found %d with the embedded store; expected one: its volume is in one namespace" (len ($.Values.namespaces | default list))) }}
{{- end }}
{{- else }}
{{- if not .postgres.url }}
{{- $wrong = append $wrong "store: found neither PostgreSQL nor the embedded store; expected store.postgres.url (or, for a single pod, store.embedded.enabled: true and desk.enabled: false)" }}
{{- else if and $.Values.desk.enabled (not .postgres.deskUrl) }}
{{- $wrong = append $wrong "store.postgres.deskUrl: found none; expected the URL with the desk's own role (or desk.enabled: false)" }}
{{- end }}
{{- if and .postgres.url .migrate.enabled (not .migrate.url) }}
{{- $wrong = append $wrong "store.migrate.url: found none; expected the URL with the role that owns the schema (or store.migrate.enabled: false, and `remit store migrate` by hand before each upgrade)" }}
{{- end }}
{{- if not $.Values.keysSecret }}
{{- $wrong = append $wrong "keysSecret: found none; expected the Secret with the keys that all members of an installation have" }}
{{- end }}
{{- end }}
{{- end }}
{{- toJson $wrong }}
{{- end }}

{{- define "remit.validate.policy" -}}
{{- $wrong := list }}
{{- $catalogue := include "remit.catalogue" . | fromYaml }}
{{- if and .Values.catalogue .Values.catalogueText }}
{{- $wrong = append $wrong "catalogueText: found it beside catalogue; expected one of them" }}
{{- end }}
{{- if and .Values.catalogueText (hasKey $catalogue "Error") }}
{{- $wrong = append $wrong "catalogueText: found no YAML mapping; expected what stands in remit.yaml" }}
{{- end }}
{{- if .Values.bundle.url }}
{{- if or .Values.catalogue .Values.catalogueText .Values.policies }}
{{- $wrong = append $wrong "bundle.url: found it beside catalogue or policies; expected one of the two: they come in the bundle" }}
{{- end }}
{{- if not .Values.bundle.key }}
{{- $wrong = append $wrong "bundle.key: found none; expected the public key (PEM) that the bundle's signature must be of" }}
{{- end }}
{{- if not (regexMatch "^https://[^@?#]+$" .Values.bundle.url) }}
{{- $wrong = append $wrong "bundle.url: found another URL (not shown); expected https://HOST/PATH without user, password or query, which could be secrets: bundle.tokenSecret names the Secret of its token" }}
{{- end }}
{{- else }}
{{- if not (or .Values.catalogue .Values.catalogueText) }}
{{- $wrong = append $wrong "catalogue: found neither a catalogue nor bundle.url; expected catalogue, catalogueText or bundle.url" }}
{{- end }}
{{- range $key := list "key" "ca" "tokenSecret" }}
{{- if get $.Values.bundle $key }}
{{- $wrong = append $wrong (printf "bundle.%s: found it without bundle.url; expected none" $key) }}
{{- end }}
{{- end }}
{{- if .Values.injection.agent.services }}
{{- $wrong = append $wrong "injection.agent.services: found it beside catalogue; expected none: its own services are known" }}
{{- end }}
{{- end }}
{{- if contains "PRIVATE KEY" .Values.bundle.key }}
{{- $wrong = append $wrong "bundle.key: found a private key (not shown); expected the public one. Whoever has seen it can sign policies: make a new pair" }}
{{- end }}
{{- if hasKey $catalogue "sidecar" }}
{{- $wrong = append $wrong "catalogue.sidecar: found settings in the catalogue; expected them below settings" }}
{{- end }}
{{- /* A ConfigMap holds 1 MiB, and what it is written in is more than the text itself. */}}
{{- range $key := list "catalogue" "catalogueText" "policies" }}
{{- $size := len (toJson (get $.Values $key)) }}
{{- if gt $size 1000000 }}
{{- $wrong = append $wrong (printf "%s: found %d bytes; expected at most 1000000, which a ConfigMap holds. More comes in a bundle (bundle.url)" $key $size) }}
{{- end }}
{{- end }}
{{- toJson $wrong }}
{{- end }}

{{- /* Settings that are the chart's: what else it says, probes, admission and agents' environment rest on them. */}}
{{- define "remit.validate.settings" -}}
{{- $wrong := list }}
{{- $instead := dict
  "approvals.webhook" "desk.webhookSecret"
  "bundle" "bundle"
  "desk" "desk"
  "egress.binary" ""
  "egress.http" ""
  "egress.on" "sidecar.egress"
  "egress.proxy" ""
  "grpc" ""
  "http" ""
  "keys" "keysSecret"
  "kubernetes" "identity"
  "limits.drain_seconds" "sidecar.drainSeconds"
  "opa.binary" ""
  "opa.socket" ""
  "opa.url" ""
  "ops" "sidecar.opsPort"
  "policies" "policies"
  "socket" ""
  "state" ""
  "store.allotments" "store.allotments"
  "store.password_file" "store.postgres.secret"
  "store.url" "store.postgres.url" }}
{{- range $path := keys $instead | sortAlpha }}
{{- if include "remit.has" (dict "map" $.Values.settings "path" $path) }}
{{- $other := get $instead $path | default "none" }}
{{- $wrong = append $wrong (printf "settings.%s: the chart sets it; expected %s" $path (eq $other "none" | ternary $other (printf "it as %s" $other))) }}
{{- end }}
{{- end }}
{{- toJson $wrong }}
{{- end }}

{{- /* {map, path}: "true" where the map has something at the dotted path, else nothing. */}}
{{- define "remit.has" -}}
{{- $parts := splitList "." .path }}
{{- if and (kindIs "map" .map) (hasKey .map (first $parts)) }}
{{- if eq (len $parts) 1 -}} true
{{- else }}{{ include "remit.has" (dict "map" (get .map (first $parts)) "path" (rest $parts | join ".")) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "remit.validate.rest" -}}
{{- $wrong := list }}
{{- /* Names become keys, paths and directories. */}}
{{- range $key, $rule := dict
  "policies" (list "^([A-Za-z0-9_-]+/)*[A-Za-z0-9_-]+(\\.[A-Za-z0-9_-]+)*\\.(rego|json)$" "a path such as hours/night/night.rego: letters, digits, _ and -, and .rego or .json at the end")
  "credentials" (list "^[a-z0-9]([-a-z0-9]{0,44}[a-z0-9])?$" "at most 46 small letters, digits and -")
  "injection.agent.services" (list "^[a-z0-9][a-z0-9._-]{0,62}$" "a service's id in the catalogue")
}}
{{- range $name := keys (eq $key "injection.agent.services" | ternary $.Values.injection.agent.services (get $.Values $key) | default dict) | sortAlpha }}
{{- if or (gt (len $name) 200) (not (regexMatch (first $rule) $name)) }}
{{- $wrong = append $wrong (printf "%s: found the name %q; expected %s" $key $name (last $rule)) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and (include "remit.apart" .) (has .Release.Namespace (include "remit.namespaces" . | fromYamlArray)) }}
{{- $wrong = append $wrong (printf "namespaces: found %s, the release's own, where desk and migration have their secrets; expected others: whoever may make pods there could use these" .Release.Namespace) }}
{{- end }}
{{- if eq (int64 .Values.sidecar.runAsUser) (int64 .Values.injection.agent.runAsUser) }}
{{- $wrong = append $wrong (printf "injection.agent.runAsUser: found %v, the sidecar's own user; expected another: by their users the two are told apart" .Values.injection.agent.runAsUser) }}
{{- end }}
{{- if has (int .Values.sidecar.opsPort) (list 7450 7451 7452 7453 7460 7461) }}
{{- $wrong = append $wrong (printf "sidecar.opsPort: found %v; expected none of 7450 to 7453, 7460 and 7461, where Remit listens already" .Values.sidecar.opsPort) }}
{{- end }}
{{- with .Values.desk }}
{{- if .enabled }}
{{- if and .certificate.enabled (not .certificate.issuerRef) }}
{{- $wrong = append $wrong "desk.certificate.issuerRef: found none; expected cert-manager's issuer: name, and kind unless it is an Issuer" }}
{{- end }}
{{- if and .certificate.enabled (not .certificate.serviceNames) (not .certificate.dnsNames) }}
{{- $wrong = append $wrong "desk.certificate.dnsNames: found none, and serviceNames is false; expected the names that it is to be for" }}
{{- end }}
{{- if and .oidc (not .publicUrl) }}
{{- $wrong = append $wrong "desk.publicUrl: found none; expected the https address that people come back to from desk.oidc.issuer" }}
{{- end }}
{{- end }}
{{- end }}
{{- toJson $wrong }}
{{- end }}
