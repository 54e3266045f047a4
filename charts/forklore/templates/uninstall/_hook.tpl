{{/* After the release is gone: the pods that clean, what waits for them, and what both need. Takes the weight: helm makes the
lighter first. A failed wait leaves its Job to be looked at. */}}
{{- define "forklore.uninstall.hook" -}}
helm.sh/hook: post-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}
