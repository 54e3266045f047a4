{{/* Names, labels and images: what every object has. */}}

{{- define "forklore.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* 40 characters leave enough of a label's 63 for the longest suffix. */}}
{{- define "forklore.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "forklore.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "forklore.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "forklore.agent.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (printf "%s-agent" (include "forklore.fullname" .)) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The selector of pods, which must never change. Takes (list $ "component"). */}}
{{- define "forklore.selector" -}}
{{- $ := index . 0 -}}
app.kubernetes.io/name: {{ include "forklore.name" $ }}
app.kubernetes.io/instance: {{ $.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* An object's labels. A pod's are its selector's and the operator's: the chart's version in them would restart every pod
with every version. Takes (list $ "component"). */}}
{{- define "forklore.labels" -}}
{{- $ := index . 0 -}}
{{ include "forklore.selector" . }}
helm.sh/chart: {{ printf "%s-%s" $.Chart.Name $.Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ $.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $.Release.Service }}
app.kubernetes.io/part-of: forklore
{{- with $.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Takes (list $ .Values.x.image). A digest goes before a tag. */}}
{{- define "forklore.image" -}}
{{- $ := index . 0 -}}
{{- $image := index . 1 -}}
{{- $name := printf "%s/%s" (trimSuffix "/" $.Values.image.registry) $image.repository -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default $.Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "forklore.pullSecrets" -}}
{{- with .Values.image.pullSecrets -}}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* `truthy` when this Kubernetes does recursive read-only mounts by default. */}}
{{- define "forklore.canMountReadOnlyRecursively" -}}
{{- if semverCompare ">=1.31.0-0" .Capabilities.KubeVersion.Version -}}yes{{- end -}}
{{- end -}}

{{/* A container that only serves HTTP: no privilege of any kind. */}}
{{- define "forklore.powerless" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
{{- if not .Values.openshift.enabled }}
runAsUser: {{ .Values.collector.runAsUser | int64 }}
{{- end }}
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}
