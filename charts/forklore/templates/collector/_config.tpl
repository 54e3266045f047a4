{{/* The collector's YAML file: `collector.settings`, and the settings that the chart sets. */}}
{{- define "forklore.collector.config" -}}
{{- $settings := deepCopy .Values.collector.settings -}}
{{- $_ := set $settings "listen" "0.0.0.0:9910" -}}
{{- $_ := set $settings "tls" false -}}
{{- $_ := set $settings "token_file" "/run/forklore/secrets/collector/token" -}}
{{ toYaml $settings }}
{{- end -}}

{{/* The Secret with the token that agents, collector and viewers share; in each pod the file is called `token`. */}}
{{- define "forklore.collector.tokenSecret" -}}
secretName: {{ default (printf "%s-collector-token" (include "forklore.fullname" .)) .Values.collector.token.existingSecret }}
items: [{key: {{ .Values.collector.token.key }}, path: token}]
{{- end -}}
