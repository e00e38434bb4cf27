{{- define "opagate.labels" -}}
app.kubernetes.io/name: opagate
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "opagate.image" -}}
{{- $image := .image -}}
{{ $image.repository }}{{ if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default .version }}{{ end }}
{{- end }}

{{- define "opagate.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* gateway.yaml: the values of `config`, and what belongs to the pod. */ -}}
{{- define "opagate.config" -}}
{{- $limits := merge (dict "drain_delay" (printf "%ds" (int .Values.drainDelaySeconds)) "drain" (printf "%ds" (int .Values.drainSeconds))) (.Values.config.limits | default dict) -}}
{{- $policy := .Values.config.policy | default dict -}}
{{- if .Values.opa.enabled -}}
{{- $policy = merge (dict "engine" (dict "kind" "opa" "url" "unix:///run/opa/opa.sock") "path" "/policy/built") (omit $policy "grants" "overlay") -}}
{{- else -}}
{{- $policy = merge (dict "grants" "/etc/opagate/grants.yaml") $policy -}}
{{- end -}}
{{- $journal := merge (dict "path" "/state/opagate/journal") (.Values.config.journal | default dict) -}}
{{- $catalogue := merge (dict "lock" "/state/opagate/catalogue.lock") (.Values.config.catalogue | default dict) -}}
{{- $own := dict "listen" "0.0.0.0:8080" "public_url" .Values.publicUrl "state" "/state/opagate" "limits" $limits "policy" $policy "journal" $journal "catalogue" $catalogue -}}
{{- if .Values.secrets.keys -}}
{{- $keys := dict "sessions" "/run/keys/sessions" "fingerprints" "/run/keys/fingerprints" "tokens" "/run/keys/tokens" -}}
{{- if .Values.config.store -}}
{{- $_ := set $keys "sealing" "/run/keys/sealing" -}}
{{- end -}}
{{- $_ := set $own "keys" $keys -}}
{{- end -}}
{{- if .Values.secrets.tls -}}
{{- $_ := set $own "tls" (dict "certificate" "/run/tls/tls.crt" "key" "/run/tls/tls.key") -}}
{{- end -}}
{{- merge $own .Values.config | toYaml -}}
{{- end }}
