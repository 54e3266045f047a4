{{/* The agent's YAML file: `agent.settings`, and the settings that the chart sets. `node` is not in it: each pod has its own in the environment. */}}
{{- define "forklore.agent.config" -}}
{{- $settings := deepCopy .Values.agent.settings -}}
{{- $capture := default dict $settings.capture -}}
{{- $_ := set $capture "pin" (ternary nil "/run/forklore/pins" (empty .Values.agent.pin)) -}}
{{- $_ := set $capture "keep" (not (empty .Values.agent.pin)) -}}
{{- $_ := set $settings "capture" $capture -}}
{{- $_ := set $settings "cluster" .Values.cluster -}}
{{- $_ := set $settings "state_dir" "/var/lib/forklore" -}}
{{- $_ := set $settings "status" (printf "%s:%d" .Values.agent.status.address (int .Values.agent.status.port)) -}}
{{- if or .Values.agent.status.token.value .Values.agent.status.token.existingSecret -}}
{{- $_ := set $settings "status_token_file" "/run/forklore/secrets/status/token" -}}
{{- end -}}
{{- if .Values.agent.status.tls.enabled -}}
{{- $_ := set $settings "status_cert_file" "/run/forklore/secrets/status-tls/tls.crt" -}}
{{- $_ := set $settings "status_key_file" "/run/forklore/secrets/status-tls/tls.key" -}}
{{- end -}}
{{- $sinks := list -}}
{{- if include "forklore.collector.enabled" . -}}
{{- $url := printf "%s://%s-collector.%s.svc:%d/v1/events" (include "forklore.collector.scheme" .) (include "forklore.fullname" .) .Release.Namespace (int .Values.collector.service.port) -}}
{{- $sink := dict "name" "collector" "url" $url "token_file" "/run/forklore/secrets/collector/token" -}}
{{- if include "forklore.collector.hasCA" . -}}
{{- $_ := set $sink "ca_file" "/run/forklore/secrets/collector-ca/ca.crt" -}}
{{- end -}}
{{- $sinks = append $sinks (merge $sink (deepCopy .Values.collector.sink)) -}}
{{- end -}}
{{- range .Values.sinks -}}
{{- $sink := omit . "secret" -}}
{{- if .secret -}}
{{- range $setting, $key := .secret.files -}}
{{- $_ := set $sink $setting (printf "/run/forklore/secrets/sink-%s/%s" $sink.name $key) -}}
{{- end -}}
{{- end -}}
{{- $sinks = append $sinks $sink -}}
{{- end -}}
{{- $_ := set $settings "sinks" $sinks -}}
{{ toYaml $settings }}
{{- end -}}
