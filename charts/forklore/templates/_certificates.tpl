{{/* Who makes which certificate. A Secret of the operator's goes before cert-manager, and that before the chart's own CA.

`forklore.certificates.own`: `truthy` when the chart's own CA has something to sign. */}}
{{- define "forklore.certificates.own" -}}
{{- if not .Values.certificates.certManager.enabled -}}
{{- if or (include "forklore.collector.tlsBy.chart" .) (include "forklore.agent.tlsBy.chart" .) -}}yes{{- end -}}
{{- end -}}
{{- end -}}

{{/* `truthy` when chart or cert-manager make the collector's certificate. */}}
{{- define "forklore.collector.tlsBy.chart" -}}
{{- with .Values.collector -}}{{- if and (include "forklore.collector.enabled" $) .tls.enabled (not .tls.existingSecret) -}}yes{{- end -}}{{- end -}}
{{- end -}}

{{/* The same of the agents' status port. */}}
{{- define "forklore.agent.tlsBy.chart" -}}
{{- with .Values.agent.status.tls -}}{{- if and .enabled (not .existingSecret) -}}yes{{- end -}}{{- end -}}
{{- end -}}

{{- define "forklore.collector.scheme" -}}
{{- ternary "https" "http" .Values.collector.tls.enabled -}}
{{- end -}}

{{- define "forklore.agent.scheme" -}}
{{- ternary "https" "http" .Values.agent.status.tls.enabled -}}
{{- end -}}

{{/* Names that the collector is reached by. localhost and 127.0.0.1 are for `kubectl port-forward`. As a YAML list. */}}
{{- define "forklore.collector.hosts" -}}
{{- $name := printf "%s-collector" (include "forklore.fullname" .) -}}
{{- $hosts := list $name (printf "%s.%s" $name .Release.Namespace) (printf "%s.%s.svc" $name .Release.Namespace) -}}
{{- toYaml (concat $hosts (list "localhost" "127.0.0.1") .Values.collector.tls.hosts | uniq) -}}
{{- end -}}

{{/* The name in the certificate that all agents share: that of their Service, which `helm test` and Prometheus check. */}}
{{- define "forklore.agent.host" -}}
{{ include "forklore.fullname" . }}-agent.{{ .Release.Namespace }}.svc
{{- end -}}

{{/* The volume's source with the collector's certificate and key, which the collector's pod alone mounts. */}}
{{- define "forklore.collector.certificate" -}}
{{- $own := include "forklore.certificates.own" . -}}
secretName: {{ with .Values.collector.tls.existingSecret }}{{ . }}{{ else }}{{ include "forklore.fullname" . }}-{{ ternary "certificates" "collector-tls" (ne "" $own) }}{{ end }}
{{- if and $own (not .Values.collector.tls.existingSecret) }}
items: [{key: collector.crt, path: tls.crt}, {key: collector.key, path: tls.key}]
{{- else }}
items: [{key: tls.crt, path: tls.crt}, {key: tls.key, path: tls.key}]
{{- end }}
{{- end -}}

{{/* The volume's source with the certificate and key of the agents' status port. */}}
{{- define "forklore.agent.certificate" -}}
{{- $own := include "forklore.certificates.own" . -}}
secretName: {{ default (printf "%s-agent-tls" (include "forklore.fullname" .)) .Values.agent.status.tls.existingSecret }}
{{- if and $own (not .Values.agent.status.tls.existingSecret) }}
items: [{key: agent.crt, path: tls.crt}, {key: agent.key, path: tls.key}]
{{- else }}
items: [{key: tls.crt, path: tls.crt}, {key: tls.key, path: tls.key}]
{{- end }}
{{- end -}}

{{/* `truthy` when the collector's clients in this release have its CA in a file; else they trust their system's CAs. */}}
{{- define "forklore.collector.hasCA" -}}
{{- with .Values.collector -}}{{- if and (include "forklore.collector.enabled" $) .tls.enabled (not .tls.publicCA) -}}yes{{- end -}}{{- end -}}
{{- end -}}

{{/* The volume's source with the CA that the agents trust, and never a key beside it: root on a node reads whatever object a pod
of the node mounts. `optional`, because capture must not wait for a certificate. */}}
{{- define "forklore.collector.ca" -}}
{{- $full := include "forklore.fullname" . -}}
{{- $tls := .Values.collector.tls -}}
{{- if $tls.existingSecret -}}
secret: {secretName: {{ default $tls.existingSecret $tls.caSecret }}, items: [{key: ca.crt, path: ca.crt}], optional: true, defaultMode: 0444}
{{- else if include "forklore.certificates.own" . -}}
configMap: {name: {{ $full }}-ca, items: [{key: ca.crt, path: ca.crt}], optional: true}
{{- else -}}
secret: {secretName: {{ $full }}-agent-tls, items: [{key: ca.crt, path: ca.crt}], optional: true, defaultMode: 0444}
{{- end -}}
{{- end -}}

{{/* The same for a monitor of the Prometheus operator, which reads objects of its own namespace. */}}
{{- define "forklore.collector.caKey" -}}
{{- $tls := .Values.collector.tls -}}
{{- if $tls.existingSecret -}}
secret: {name: {{ default $tls.existingSecret $tls.caSecret }}, key: ca.crt}
{{- else if include "forklore.certificates.own" . -}}
configMap: {name: {{ include "forklore.fullname" . }}-ca, key: ca.crt}
{{- else -}}
secret: {name: {{ include "forklore.fullname" . }}-agent-tls, key: ca.crt}
{{- end -}}
{{- end -}}
