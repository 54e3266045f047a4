{{/* The agent's container. */}}
{{- define "forklore.agent.container" -}}
name: agent
image: {{ include "forklore.image" (list $ .Values.agent.image) }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
command: [forklore, agent, --config, /etc/forklore/agent.yaml]
env:
  - name: NODE_NAME
    valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
  {{- with .Values.agent.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  - {name: status, containerPort: {{ int .Values.agent.status.port }}, protocol: TCP}
startupProbe:
  httpGet: {path: /healthz, port: status, scheme: {{ include "forklore.agent.scheme" . | upper }}}
  {{- toYaml .Values.agent.probes.startup | nindent 2 }}
livenessProbe:
  httpGet: {path: /healthz, port: status, scheme: {{ include "forklore.agent.scheme" . | upper }}}
  {{- toYaml .Values.agent.probes.liveness | nindent 2 }}
readinessProbe:
  httpGet: {path: /readyz, port: status, scheme: {{ include "forklore.agent.scheme" . | upper }}}
  {{- toYaml .Values.agent.probes.readiness | nindent 2 }}
resources:
  {{- toYaml .Values.agent.resources | nindent 2 }}
securityContext:
  {{- include "forklore.agent.security" . | nindent 2 }}
volumeMounts:
  {{- include "forklore.agent.mounts" . | nindent 2 }}
{{- end -}}
