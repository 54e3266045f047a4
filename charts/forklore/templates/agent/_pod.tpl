{{/* The agent's pod. It has no host network, no host pid namespace and no host IPC: BPF sees the node without them. */}}
{{- define "forklore.agent.pod" -}}
metadata:
  labels:
    {{- include "forklore.selector" (list $ "agent") | nindent 4 }}
    {{- with merge (dict) .Values.agent.podLabels .Values.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    kubectl.kubernetes.io/default-container: agent
    # Another configuration restarts the pod. Secrets are not in it: the agent reads their files again when they change.
    checksum/config: {{ include "forklore.agent.config" . | sha256sum }}
    {{- with .Values.agent.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "forklore.agent.serviceAccount" . }}
  # The token for get, list and watch on pods.
  automountServiceAccountToken: true
  # Services named forklore-* would be put into the environment, where FORKLORE_* are settings.
  enableServiceLinks: false
  {{- with include "forklore.pullSecrets" . }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with ternary (printf "%s-agent" (include "forklore.fullname" .)) .Values.agent.priorityClassName (ne 0 (int .Values.priorityClass.value)) }}
  priorityClassName: {{ . }}
  {{- end }}
  terminationGracePeriodSeconds: {{ int .Values.agent.terminationGracePeriodSeconds }}
  {{- with .Values.agent.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.agent.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.agent.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.agent.extraInitContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - {{ include "forklore.agent.container" . | indent 6 | trim }}
    {{- with .Values.agent.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "forklore.agent.volumes" . | nindent 4 }}
{{- end -}}
