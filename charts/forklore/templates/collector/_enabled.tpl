{{/* Whether the release has a collector: `yes`, or empty. By `collector.enabled: auto` an install without sinks has one, and an
upgrade adds and removes none. Where helm does not ask the cluster (`helm template`, Argo CD) every render is an install. The
answer is kept, so that the cluster is asked once. */}}
{{- define "forklore.collector.enabled" -}}
{{- if eq (toString .Values.collector.enabled) "auto" -}}
{{- $found := false -}}
{{- if .Release.IsUpgrade -}}
{{- $name := printf "%s-collector" (include "forklore.fullname" .) -}}
{{- $found = not (empty (lookup "apps/v1" "StatefulSet" .Release.Namespace $name)) -}}
{{- else if not .Values.sinks -}}
{{- $found = not (include "forklore.collector.lacksTokens" .) -}}
{{- end -}}
{{- $_ := set .Values.collector "enabled" $found -}}
{{- end -}}
{{- if .Values.collector.enabled -}}yes{{- end -}}
{{- end -}}

{{/* `truthy` where the agents' tokens would name no node, and the values name no others. */}}
{{- define "forklore.collector.lacksTokens" -}}
{{- if and (eq .Values.collector.agents.identity "serviceAccount") (not (semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version)) -}}yes{{- end -}}
{{- end -}}

{{/* The name of the claim of the collector's volume; empty when it has none of its own. */}}
{{- define "forklore.collector.claim" -}}
{{- with .Values.collector.persistence -}}
{{- if and .enabled (not .existingClaim) (include "forklore.collector.enabled" $) -}}
data-{{ include "forklore.fullname" $ }}-collector-0
{{- end -}}
{{- end -}}
{{- end -}}
