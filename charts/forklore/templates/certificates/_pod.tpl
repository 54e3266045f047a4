{{/* Makes what is missing and renews what ends soon, in the objects that its Role names. It ends when that is done. */}}
{{- define "forklore.certificates.pod" -}}
metadata:
  labels:
    {{- include "forklore.selector" (list $ "certificates") | nindent 4 }}
    {{- with .Values.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  restartPolicy: OnFailure
  serviceAccountName: {{ include "forklore.fullname" . }}-certificates
  automountServiceAccountToken: true # to read and write these objects
  enableServiceLinks: false
  {{- with include "forklore.pullSecrets" . }}
  {{- . | nindent 2 }}
  {{- end }}
  nodeSelector: {kubernetes.io/os: linux}
  {{- with .Values.collector.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: certificates
      image: {{ include "forklore.image" (list $ .Values.collector.image) }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      command: [forklore, collector, certificates]
      args:
        {{- $full := include "forklore.fullname" . }}
        - --secret={{ .Release.Namespace }}/{{ $full }}-certificates
        - --days={{ int .Values.certificates.days }}
        - --ca-days={{ int .Values.certificates.caDays }}
        {{- if include "forklore.collector.tlsBy.chart" . }}
        - --server=collector={{ include "forklore.collector.hosts" . | fromYamlArray | join "," }}
        - --copy=configmap/{{ .Release.Namespace }}/{{ $full }}-ca=ca.crt
        {{- end }}
        {{- if include "forklore.agent.tlsBy.chart" . }}
        - --server=agent={{ include "forklore.agent.host" . }}
        - --copy=secret/{{ .Release.Namespace }}/{{ $full }}-agent-tls=ca.crt,agent.crt,agent.key
        {{- end }}
      resources:
        requests: {cpu: 10m, memory: 64Mi}
        limits: {memory: 256Mi}
      securityContext:
        {{- include "forklore.powerless" . | nindent 8 }}
{{- end -}}
