{{/* The privileges of the agent's container, and why. */}}
{{- define "forklore.agent.security" -}}
# Its root file system is never written: lasting files are in the state directory.
readOnlyRootFilesystem: true
# User 0, because the node's folders below belong to root; the capabilities decide what root may beyond its own files.
runAsUser: 0
{{- if .Values.leastPrivilege }}
privileged: false
allowPrivilegeEscalation: false
seccompProfile: {type: RuntimeDefault}
capabilities:
  drop: [ALL]
  add:
    # bpf(): make the maps, load the programs. Only SYS_ADMIN could replace it, which allows almost anything.
    - BPF
    # Attach to raw tracepoints, and read the two tasks of a fork in kernel memory.
    - PERFMON
    {{- range .Values.agent.extraCapabilities }}
    # From agent.extraCapabilities: below Linux 5.11 BPF memory counts against a limit that SYS_RESOURCE lifts.
    - {{ . }}
    {{- end }}
{{- with .Values.agent.seLinuxType }}
# Where SELinux is enforced, a confined container may neither call bpf() nor write to the node's folders.
seLinuxOptions: {type: {{ . }}}
{{- end }}
{{- else }}
# Works on every kernel, under every LSM and with every seccomp profile. After it has attached, the agent gives up each
# capability that it no longer needs. `leastPrivilege: true` starts with two capabilities only.
privileged: true
{{- end }}
{{- end -}}
