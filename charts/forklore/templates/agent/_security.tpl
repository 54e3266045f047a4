{{/* The agent's container: what it may, and why. */}}
{{- define "forklore.agent.security" -}}
# Its root file system is never written: what must last is in the state directory.
readOnlyRootFilesystem: true
# User 0, for the node's folders below belong to root; what root may beyond its own files is said by the capabilities.
runAsUser: 0
{{- if .Values.leastPrivilege }}
privileged: false
allowPrivilegeEscalation: false
seccompProfile: {type: RuntimeDefault}
capabilities:
  drop: [ALL]
  add:
    # bpf(): make the maps, load the programs. No other capability can stand in for it but SYS_ADMIN, which can do anything.
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
# capability that it needs no more. `leastPrivilege: true` starts with two capabilities only.
privileged: true
{{- end }}
{{- end -}}
