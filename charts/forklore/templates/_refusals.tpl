{{/* Checks that the schema can't express, or not with a helpful message. Included once, by the agent's ConfigMap. */}}
{{- define "forklore.refusals" -}}
{{- $settings := .Values.agent.settings -}}
{{- $instead := dict
    "node" "it is the node's name, from the downward API"
    "cluster" "set `cluster`"
    "state_dir" "it is a mount, too: set `agent.stateDir`"
    "status" "it is a port and three probes, too: set `agent.status.address` and `agent.status.port`"
    "status_cert_file" "it is a mount, too: set `agent.status.tls`"
    "status_key_file" "it is a mount, too: set `agent.status.tls`"
    "status_token_file" "it is a mount, too: set `agent.status.token`"
    "sinks" "set `sinks`, beside `agent`" -}}
{{- range $key, $words := $instead -}}
{{- if hasKey $settings $key -}}
{{- fail (printf "agent.settings.%s is set by the chart: %s" $key $words) -}}
{{- end -}}
{{- end -}}
{{- range $key, $words := dict
    "pin" "it is a mount, too: set `agent.pin`"
    "keep" "it follows from `agent.pin`, and `uninstall.clean` removes the pins" -}}
{{- if hasKey (default dict $settings.capture) $key -}}
{{- fail (printf "agent.settings.capture.%s is set by the chart: %s" $key $words) -}}
{{- end -}}
{{- end -}}
{{- $owned := dict
    "listen" "set `collector.service.port`"
    "cert_file" "it is a mount, too: set `collector.tls`"
    "key_file" "it is a mount, too: set `collector.tls`"
    "tls" "it is in the agents' settings, too: set `collector.tls.enabled`"
    "audience" "it is in the agents' pods, too: set `collector.agents.audience`"
    "token_file" "it is a mount, too: set `collector.token`"
    "generated_read_token_file" "it is in the collector's volume; `collector.readToken` replaces it" -}}
{{- if .Values.collector.readToken.existingSecret -}}
{{- $_ := set $owned "read_token_file" "it is a mount, too: set `collector.readToken`" -}}
{{- end -}}
{{- if eq .Values.collector.agents.identity "token" -}}
{{- $_ := set $owned "ingest_token_file" "it is a mount, too: set `collector.agents.token`" -}}
{{- end -}}
{{- range $key, $words := $owned -}}
{{- if hasKey $.Values.collector.settings $key -}}
{{- fail (printf "collector.settings.%s is set by the chart: %s" $key $words) -}}
{{- end -}}
{{- end -}}
{{- with .Values.collector -}}
{{- if and (include "forklore.collector.enabled" $) (include "forklore.collector.lacksTokens" $) -}}
{{- fail (printf "Kubernetes %s issues service account tokens that name no node (1.30 and later ones do). Set `collector.agents.identity: token` and `collector.agents.token.existingSecret`, see the README" $.Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- if and (include "forklore.collector.enabled" $) (eq .agents.identity "token") (not .agents.token.existingSecret) -}}
{{- fail "collector.agents.identity: token needs a Secret of yours, because no render holds a random value: set `collector.agents.token.existingSecret`, see the README" -}}
{{- end -}}
{{- if and (eq .agents.identity "serviceAccount") (or .agents.token.existingSecret .agents.token.perNode) -}}
{{- fail "collector.agents.token is not used with collector.agents.identity: serviceAccount: leave it out, or set `identity: token`" -}}
{{- end -}}
{{- end -}}

{{- $names := ternary (list "collector") (list) (eq "yes" (include "forklore.collector.enabled" $)) -}}
{{- range .Values.sinks -}}
{{- if has .name $names -}}
{{- fail (printf "sinks: two are named %q, and the collector of the chart takes the name collector: each needs its own" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- $sink := . -}}
{{- with .secret -}}
{{- if eq (empty .existingSecret) (empty .data) -}}
{{- fail (printf "sinks: %s.secret takes one of existingSecret (the name of yours) and data (the chart makes one)" $sink.name) -}}
{{- end -}}
{{- range $setting, $key := .files -}}
{{- if not (hasSuffix "_file" $setting) -}}
{{- fail (printf "sinks: %s.secret.files.%s is no setting that names a file: those end in _file, such as token_file, ca_file, cert_file, key_file" $sink.name $setting) -}}
{{- end -}}
{{- if and $sink.secret.data (not (hasKey $sink.secret.data $key)) -}}
{{- fail (printf "sinks: %s.secret.files.%s names the key %q, which is not in %s.secret.data" $sink.name $setting $key $sink.name) -}}
{{- end -}}
{{- if hasKey $sink $setting -}}
{{- fail (printf "sinks: %s has %s twice: itself, and in secret.files, which sets it to where the file is mounted" $sink.name $setting) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- range $where, $labels := dict "commonLabels" .Values.commonLabels "agent.labels" .Values.agent.labels "agent.podLabels" .Values.agent.podLabels "collector.labels" .Values.collector.labels "collector.podLabels" .Values.collector.podLabels -}}
{{- range $key := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" -}}
{{- if hasKey $labels $key -}}
{{- fail (printf "%s: %s is the selector of pods, and can't be set; `nameOverride` changes their names" $where $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- $rro := .Values.agent.cgroups.recursiveReadOnly -}}
{{- if not (include "forklore.canMountReadOnlyRecursively" .) -}}
{{- if or (eq $rro "Enabled") (and .Values.leastPrivilege (eq $rro "") (eq .Values.agent.cgroups.hostPath "/sys/fs/cgroup")) -}}
{{- fail (printf "Kubernetes %s can't mount /sys/fs/cgroup recursively read-only (1.31 can). Where nodes have cgroup v2 only, nothing is lost: set `agent.cgroups.recursiveReadOnly: Disabled`. Where they have v1: set `agent.cgroups.hostPath: /sys/fs/cgroup/pids`, one hierarchy with no mounts below it" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- end -}}

{{- if and .Values.agent.extraCapabilities (not .Values.leastPrivilege) -}}
{{- fail "agent.extraCapabilities adds to BPF and PERFMON of leastPrivilege; a privileged agent has them all: set `leastPrivilege: true`, or leave it out" -}}
{{- end -}}

{{- if and (gt (int .Values.collector.replicas) 1) (not .Values.collector.store.existingSecret) (not (hasPrefix "http" (default "" .Values.collector.settings.store))) -}}
{{- fail "collector.replicas: more than one need a store outside the pod, because the embedded one has a single writer: set `collector.settings.store` or `collector.store.existingSecret` to a ClickHouse" -}}
{{- end -}}
{{- if and (gt (int .Values.collector.replicas) 1) (not .Values.collector.readToken.existingSecret) (not (include "forklore.collector.hasToken" .)) -}}
{{- fail "collector.replicas: each would make a token for viewers of its own: set `collector.readToken.existingSecret`" -}}
{{- end -}}
{{- with .Values.collector.tls -}}
{{- if and .caSecret (not .existingSecret) -}}
{{- fail "collector.tls.caSecret belongs to collector.tls.existingSecret: set that, too" -}}
{{- end -}}
{{- if and .publicCA (not .existingSecret) (not (and $.Values.certificates.certManager.enabled $.Values.certificates.certManager.issuerRef)) -}}
{{- fail "collector.tls.publicCA: a public CA does not sign what the chart makes: set `collector.tls.existingSecret`, or cert-manager's `certificates.certManager.issuerRef`" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.certificates.certManager.enabled (not (.Capabilities.APIVersions.Has "cert-manager.io/v1")) -}}
{{- fail "certificates.certManager.enabled: this cluster has no cert-manager. Where helm does not ask the cluster, add `--api-versions cert-manager.io/v1`" -}}
{{- end -}}
{{- if and .Values.certificates.certManager.issuerRef (not .Values.certificates.certManager.enabled) -}}
{{- fail "certificates.certManager.issuerRef is used with certificates.certManager.enabled only: set that, too" -}}
{{- end -}}
{{- if le (int .Values.certificates.caDays) (int .Values.certificates.days) -}}
{{- fail "certificates.caDays must be more than certificates.days, because a certificate ends with its CA" -}}
{{- end -}}
{{- if and .Values.priorityClass.value (ne .Values.agent.priorityClassName "system-node-critical") -}}
{{- fail "priorityClass.value makes a class for the agent, and agent.priorityClassName names another: set one of them" -}}
{{- end -}}
{{- end -}}
