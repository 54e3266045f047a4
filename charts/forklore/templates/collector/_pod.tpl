{{/* The collector's pod. It asks Kubernetes for the public keys of tokens only, and passes the restricted Pod Security level. */}}
{{- define "forklore.collector.pod" -}}
metadata:
  labels:
    {{- include "forklore.selector" (list $ "collector") | nindent 4 }}
    {{- with merge (dict) .Values.collector.podLabels .Values.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    kubectl.kubernetes.io/default-container: collector
    # Another configuration restarts the pod. The token's file is read again when it changes.
    checksum/config: {{ include "forklore.collector.config" . | sha256sum }}
    {{- with .Values.collector.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- if eq .Values.collector.agents.identity "serviceAccount" }}
  serviceAccountName: {{ include "forklore.fullname" . }}-collector
  {{- end }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with include "forklore.pullSecrets" . }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with .Values.collector.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  terminationGracePeriodSeconds: {{ int .Values.collector.terminationGracePeriodSeconds }}
  {{- if not .Values.openshift.enabled }}
  securityContext:
    # The group of the volume and the token, so that a user other than root can use them.
    fsGroup: {{ .Values.collector.runAsUser | int64 }}
    fsGroupChangePolicy: OnRootMismatch
  {{- end }}
  {{- with .Values.collector.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.collector.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.collector.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.collector.extraInitContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - {{ include "forklore.collector.container" . | indent 6 | trim }}
    {{- with .Values.collector.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - name: config
      configMap: {name: {{ include "forklore.fullname" . }}-collector}
    {{- include "forklore.collector.accessVolumes" . | trim | nindent 4 }}
    {{- if .Values.collector.tls.enabled }}
    # The pod starts when its certificate is there.
    - name: certificate
      secret:
        {{- include "forklore.collector.certificate" . | nindent 8 }}
        defaultMode: 0440
    {{- end }}
    - {name: tmp, emptyDir: {sizeLimit: 1Gi}}
    {{- with .Values.collector.persistence }}
    {{- if not .enabled }}
    - {name: data, emptyDir: {}}
    {{- else if .existingClaim }}
    - name: data
      persistentVolumeClaim: {claimName: {{ .existingClaim }}}
    {{- end }}
    {{- end }}
    {{- with .Values.collector.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
