{{/* Runs after the release is gone: the pods that clean, the Job that waits for them, and their accounts. Takes the weight: helm makes the
lighter first. A failed wait leaves its Job to be looked at. */}}
{{- define "forklore.uninstall.hook" -}}
helm.sh/hook: post-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}
