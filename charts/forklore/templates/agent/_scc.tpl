{{/* The rights of a service account on OpenShift. Takes (list $ "component" "account" privileged capabilities). */}}
{{- define "forklore.agent.scc" -}}
{{- $ := index . 0 -}}
apiVersion: security.openshift.io/v1
kind: SecurityContextConstraints
metadata:
  name: {{ include "forklore.fullname" $ }}-{{ index . 1 }}
  labels:
    {{- include "forklore.labels" (list $ (index . 1)) | nindent 4 }}
  {{- if eq (index . 1) "uninstall" }}
  annotations:
    {{- include "forklore.uninstall.hook" -1 | nindent 4 }}
  {{- end }}
users: ["system:serviceaccount:{{ $.Release.Namespace }}:{{ index . 2 }}"]
# The reasons are beside the fields that need it, in the pod.
allowHostDirVolumePlugin: true
allowPrivilegedContainer: {{ index . 3 }}
allowPrivilegeEscalation: {{ index . 3 }}
allowedCapabilities: {{ toJson (index . 4) }}
requiredDropCapabilities: []
defaultAddCapabilities: []
allowHostIPC: false
allowHostNetwork: false
allowHostPID: false
allowHostPorts: false
readOnlyRootFilesystem: true
runAsUser: {type: RunAsAny}
seLinuxContext: {type: RunAsAny}
fsGroup: {type: RunAsAny}
supplementalGroups: {type: RunAsAny}
seccompProfiles: {{ ternary (list "*") (list "runtime/default") (index . 3) | toJson }}
volumes: [configMap, emptyDir, hostPath, projected, secret]
{{- end -}}
