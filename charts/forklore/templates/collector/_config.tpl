{{/* The collector's YAML file: `collector.settings`, and the settings that the chart sets. */}}
{{- define "forklore.collector.config" -}}
{{- $settings := deepCopy .Values.collector.settings -}}
{{- $_ := set $settings "listen" "0.0.0.0:9910" -}}
{{- if .Values.collector.tls.enabled -}}
{{- $_ := set $settings "cert_file" "/run/forklore/tls/tls.crt" -}}
{{- $_ := set $settings "key_file" "/run/forklore/tls/tls.key" -}}
{{- else -}}
{{- $_ := set $settings "tls" false -}}
{{- end -}}
{{- if include "forklore.collector.hasToken" . -}}
{{- $_ := set $settings "token_file" "/run/forklore/secrets/collector/token" -}}
{{- end -}}
{{- if .Values.collector.readToken.existingSecret -}}
{{- $_ := set $settings "read_token_file" "/run/forklore/secrets/read/token" -}}
{{- else if eq 1 (int .Values.collector.replicas) -}}
{{- $_ := set $settings "generated_read_token_file" "/var/lib/forklore/read-token" -}}
{{- end -}}
{{- if eq .Values.collector.agents.identity "token" -}}
{{- $_ := set $settings "ingest_token_file" "/run/forklore/secrets/agents/token" -}}
{{- else -}}
{{- $_ := set $settings "audience" .Values.collector.agents.audience -}}
{{- $api := "/run/forklore/api" -}}
{{- $cluster := dict "name" .Values.cluster "api_server" "https://kubernetes.default.svc" "ca_file" (printf "%s/ca.crt" $api) "token_file" (printf "%s/token" $api) -}}
{{- $_ := set $cluster "service_account" (printf "%s/%s" .Release.Namespace (include "forklore.agent.serviceAccount" .)) -}}
{{- $_ := set $settings "clusters" (prepend (default list $settings.clusters) $cluster) -}}
{{- end -}}
{{ toYaml $settings }}
{{- end -}}

{{/* `truthy` when there is a token as 0.1 had it. */}}
{{- define "forklore.collector.hasToken" -}}
{{- if or .Values.collector.token.value .Values.collector.token.existingSecret -}}yes{{- end -}}
{{- end -}}

{{/* Mounts and volumes of what the collector knows its clients by, in the same order. */}}
{{- define "forklore.collector.accessMounts" -}}
{{- if include "forklore.collector.hasToken" . }}
- {name: token, mountPath: /run/forklore/secrets/collector, readOnly: true}
{{- end }}
{{- if .Values.collector.readToken.existingSecret }}
- {name: read-token, mountPath: /run/forklore/secrets/read, readOnly: true}
{{- end }}
{{- if eq .Values.collector.agents.identity "token" }}
- {name: agents-tokens, mountPath: /run/forklore/secrets/agents, readOnly: true}
{{- else }}
- {name: api, mountPath: /run/forklore/api, readOnly: true}
{{- end }}
{{- end -}}

{{- define "forklore.collector.accessVolumes" -}}
{{- if include "forklore.collector.hasToken" . }}
- name: token
  secret:
    secretName: {{ default (printf "%s-collector-token" (include "forklore.fullname" .)) .Values.collector.token.existingSecret }}
    items: [{key: {{ .Values.collector.token.key }}, path: token}]
    defaultMode: 0440
{{- end }}
{{- with .Values.collector.readToken }}
{{- if .existingSecret }}
- name: read-token
  secret:
    secretName: {{ .existingSecret }}
    items: [{key: {{ .key }}, path: token}]
    defaultMode: 0440
{{- end }}
{{- end }}
{{- if eq .Values.collector.agents.identity "token" }}
{{- with .Values.collector.agents.token }}
- name: agents-tokens
  secret:
    secretName: {{ .existingSecret }}
    items: [{key: {{ .key }}, path: token}]
    defaultMode: 0440
{{- end }}
{{- else }}
# For two questions to the API server, which answers them to every service account: the issuer, and the public keys of tokens.
- name: api
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken: {path: token, expirationSeconds: 3600}
      - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
{{- end }}
{{- end -}}
