{{/* Mounts and volumes of the agent, in the same order. Each of the node's folders has its reason. */}}
{{- define "forklore.agent.mounts" -}}
- {name: config, mountPath: /etc/forklore, readOnly: true}
# Mounted over the container's own, which a privileged container could write.
- name: cgroups
  mountPath: /sys/fs/cgroup
  readOnly: true
  {{- $least := and .Values.leastPrivilege (eq .Values.agent.cgroups.hostPath "/sys/fs/cgroup") }}
  {{- $rro := default (ternary "IfPossible" "" $least) .Values.agent.cgroups.recursiveReadOnly }}
  {{- if and $rro (include "forklore.canMountReadOnlyRecursively" .) }}
  # cgroup v1 mounts a file system for each controller below this one; plain readOnly leaves them writable, and then
  # the agent logs them.
  recursiveReadOnly: {{ $rro }}
  {{- end }}
{{- if .Values.agent.pin }}
# Not below /sys: AppArmor's default profile forbids writing and locking there.
- {name: pins, mountPath: /run/forklore/pins}
{{- end }}
- {name: state, mountPath: /var/lib/forklore}
{{- range .Values.sinks }}
{{- if .secret }}
- {name: sink-{{ .name }}, mountPath: /run/forklore/secrets/sink-{{ .name }}, readOnly: true}
{{- end }}
{{- end }}
{{- if include "forklore.collector.enabled" . }}
{{- if and (eq .Values.collector.agents.identity "token") .Values.collector.agents.token.perNode }}
# The key of its own node alone; another token there is used after a restart.
- {name: collector-token, mountPath: /run/forklore/secrets/collector/token, subPathExpr: $(NODE_NAME), readOnly: true}
{{- else }}
- {name: collector-token, mountPath: /run/forklore/secrets/collector, readOnly: true}
{{- end }}
{{- end }}
{{- if include "forklore.collector.hasCA" . }}
- {name: collector-ca, mountPath: /run/forklore/secrets/collector-ca, readOnly: true}
{{- end }}
{{- if .Values.agent.status.tls.enabled }}
- {name: status-tls, mountPath: /run/forklore/secrets/status-tls, readOnly: true}
{{- end }}
{{- if or .Values.agent.status.token.value .Values.agent.status.token.existingSecret }}
- {name: status-token, mountPath: /run/forklore/secrets/status, readOnly: true}
{{- end }}
{{- with .Values.agent.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "forklore.agent.volumes" -}}
- name: config
  configMap: {name: {{ include "forklore.fullname" . }}-agent}
# Read once at a start, for the containers that exist already: a directory's inode number is the id that forks carry.
- name: cgroups
  hostPath: {path: {{ .Values.agent.cgroups.hostPath }}, type: Directory}
{{- if .Values.agent.pin }}
# Maps and links are pinned here, so that capture continues while the agent is replaced. This folder only, not all of bpffs.
- name: pins
  hostPath: {path: {{ .Values.agent.pin }}, type: DirectoryOrCreate}
{{- end }}
# The journal: captured events that are not delivered yet outlive the pod.
- name: state
  hostPath: {path: {{ .Values.agent.stateDir }}, type: DirectoryOrCreate}
{{- range .Values.sinks }}
{{- if .secret }}
- name: sink-{{ .name }}
  secret:
    secretName: {{ default (printf "%s-sink-%s" (include "forklore.fullname" $) .name) .secret.existingSecret }}
    defaultMode: 0400
{{- end }}
{{- end }}
{{- if include "forklore.collector.enabled" . }}
{{- if eq .Values.collector.agents.identity "token" }}
- name: collector-token
  secret:
    secretName: {{ .Values.collector.agents.token.existingSecret }}
    {{- if not .Values.collector.agents.token.perNode }}
    items: [{key: {{ .Values.collector.agents.token.key }}, path: token}]
    {{- end }}
    defaultMode: 0400
{{- else }}
# Names this pod's node, and is good for the collector only. The kubelet replaces it, and the agent reads it for each batch.
- name: collector-token
  projected:
    defaultMode: 0400
    sources:
      - serviceAccountToken: {audience: {{ .Values.collector.agents.audience | quote }}, path: token, expirationSeconds: 3600}
{{- end }}
{{- end }}
{{- if include "forklore.collector.hasCA" . }}
- name: collector-ca
  {{- include "forklore.collector.ca" . | nindent 2 }}
{{- end }}
{{- if .Values.agent.status.tls.enabled }}
- name: status-tls
  secret:
    {{- include "forklore.agent.certificate" . | nindent 4 }}
    defaultMode: 0400
{{- end }}
{{- if or .Values.agent.status.token.value .Values.agent.status.token.existingSecret }}
- name: status-token
  secret:
    secretName: {{ default (printf "%s-status" (include "forklore.fullname" .)) .Values.agent.status.token.existingSecret }}
    items: [{key: {{ .Values.agent.status.token.key }}, path: token}]
    defaultMode: 0400
{{- end }}
{{- with .Values.agent.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
