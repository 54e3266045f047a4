{{/* The collector's container: it serves HTTP and writes one folder. */}}
{{- define "forklore.collector.container" -}}
name: collector
image: {{ include "forklore.image" (list $ .Values.collector.image) }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
command: [forklore, collector, --config, /etc/forklore/collector.yaml]
{{- if or .Values.collector.store.existingSecret .Values.collector.extraEnv }}
env:
  {{- if .Values.collector.store.existingSecret }}
  - name: FORKLORE_COLLECTOR_STORE
    valueFrom:
      secretKeyRef: {name: {{ .Values.collector.store.existingSecret }}, key: {{ .Values.collector.store.key }}}
  {{- end }}
  {{- with .Values.collector.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
ports:
  - {name: http, containerPort: 9910, protocol: TCP}
startupProbe: # two minutes: a store that was killed is repaired when it is opened
  httpGet: {path: /healthz, port: http, scheme: {{ include "forklore.collector.scheme" . | upper }}}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: http, scheme: {{ include "forklore.collector.scheme" . | upper }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe: # writes to the store
  httpGet: {path: /readyz, port: http, scheme: {{ include "forklore.collector.scheme" . | upper }}}
  periodSeconds: 10
  timeoutSeconds: 5
resources:
  {{- toYaml .Values.collector.resources | nindent 2 }}
securityContext:
  {{- include "forklore.powerless" . | nindent 2 }}
volumeMounts:
  - {name: config, mountPath: /etc/forklore, readOnly: true}
  {{- include "forklore.collector.accessMounts" . | trim | nindent 2 }}
  {{- if .Values.collector.tls.enabled }}
  - {name: certificate, mountPath: /run/forklore/tls, readOnly: true}
  {{- end }}
  - {name: data, mountPath: /var/lib/forklore}
  # Temporary files of the store's sorts.
  - {name: tmp, mountPath: /tmp}
  {{- with .Values.collector.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
