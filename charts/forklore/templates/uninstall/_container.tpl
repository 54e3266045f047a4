{{/* Removes the pins on its node, and nothing else. It fails, and is retried, while a draining agent holds the lock. */}}
{{- define "forklore.uninstall.container" -}}
name: clean
image: {{ include "forklore.image" (list $ .Values.agent.image) }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
command: [forklore, doctor, --clean, --yes]
env:
  - {name: FORKLORE_CAPTURE__PIN, value: /run/forklore/pins}
resources:
  {{- include "forklore.uninstall.resources" . | nindent 2 }}
securityContext:
  {{- include "forklore.uninstall.security" . | nindent 2 }}
  {{- with .Values.agent.seLinuxType }}
  # Where SELinux is enforced, a confined container may not write to the node's folders.
  seLinuxOptions: {type: {{ . }}}
  {{- end }}
volumeMounts:
  - {name: pins, mountPath: /run/forklore/pins}
{{- end -}}

{{- define "forklore.uninstall.security" -}}
privileged: false
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
# User 0, because the folder of pins belongs to root: with it, unlinking a pin takes no capability.
runAsUser: 0
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "forklore.uninstall.resources" -}}
requests: {cpu: 1m, memory: 32Mi}
limits: {memory: 128Mi}
{{- end -}}
