{{/* What the schema cannot see because it takes more than one value: each of these the API server would refuse, some of
     them after half of the release is there. */}}
{{- define "heartbeat.validate" -}}
{{- include "heartbeat.validate.names" . }}
{{- include "heartbeat.validate.service" .Values.service }}
{{- include "heartbeat.validate.pod" .Values }}
{{- include "heartbeat.validate.monitors" .Values.metrics }}
{{- include "heartbeat.validate.mesh" .Values }}
{{- if and .Values.load.enabled (semverCompare "<1.29.0-0" .Capabilities.KubeVersion.Version) }}
{{- fail (printf "load.enabled: needs Kubernetes 1.29, and this is %s" .Capabilities.KubeVersion.Version) }}
{{- end }}
{{- if and (not (kindIs "invalid" .Values.probe.sleep)) (not (kindIs "invalid" .Values.probe.rate)) }}
{{- fail "probe.sleep and probe.rate: one of the two" }}
{{- end }}
{{- end }}

{{- define "heartbeat.validate.names" -}}
{{- $name := include "heartbeat.fullname" . }}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) }}
{{- fail (printf "%s cannot be the name of a Service: it has to begin with a letter and have only letters, digits and dashes; set fullnameOverride" $name) }}
{{- end }}
{{- end }}

{{- define "heartbeat.validate.service" -}}
{{- $internal := eq .type "ClusterIP" }}
{{- if and $internal .nodePort }}
{{- fail "service.nodePort: needs service.type NodePort or LoadBalancer" }}
{{- end }}
{{- if and $internal .externalTrafficPolicy (not .externalIPs) }}
{{- fail "service.externalTrafficPolicy: needs service.type NodePort or LoadBalancer, or service.externalIPs" }}
{{- end }}
{{- if and (eq .clusterIP "None") (not $internal) }}
{{- fail "service.clusterIP None: a headless Service has service.type ClusterIP" }}
{{- end }}
{{- if and (eq .clusterIP "None") .externalIPs }}
{{- fail "service.externalIPs: not with a headless Service, service.clusterIP None" }}
{{- end }}
{{- if ne .type "LoadBalancer" }}
{{- range $field := list "loadBalancerClass" "loadBalancerSourceRanges" }}
{{- if get $ $field }}
{{- fail (printf "service.%s: needs service.type LoadBalancer" $field) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and (eq (len .ipFamilies) 2) (has .ipFamilyPolicy (list "" "SingleStack")) }}
{{- fail "service.ipFamilies: two of them need service.ipFamilyPolicy PreferDualStack or RequireDualStack" }}
{{- end }}
{{- end }}

{{- define "heartbeat.validate.pod" -}}
{{- if and (eq .kind "DaemonSet") (eq (get .updateStrategy "type" | default "") "Recreate") }}
{{- fail "updateStrategy.type Recreate: a DaemonSet has RollingUpdate or OnDelete" }}
{{- end }}
{{- if and (eq .kind "Deployment") (eq (get .updateStrategy "type" | default "") "OnDelete") }}
{{- fail "updateStrategy.type OnDelete: a Deployment has RollingUpdate or Recreate" }}
{{- end }}
{{- if and .updateStrategy.rollingUpdate (ne (get .updateStrategy "type" | default "RollingUpdate") "RollingUpdate") }}
{{- fail (printf "updateStrategy.rollingUpdate: not with type %s" .updateStrategy.type) }}
{{- end }}
{{- if and .hostNetwork .hostPort (ne (int64 .hostPort) (int64 .config.port)) }}
{{- fail (printf "hostPort %d: with hostNetwork it has to be config.port, %d" (int64 .hostPort) (int64 .config.port)) }}
{{- end }}
{{- if and .config.adminPort (eq (int64 .config.adminPort) (int64 .config.port)) }}
{{- fail (printf "config.adminPort %d: config.port has the same" (int64 .config.adminPort)) }}
{{- end }}
{{- if and .config.adminAddress (not .config.adminPort) }}
{{- fail "config.adminAddress: needs config.adminPort" }}
{{- end }}
{{- end }}

{{- define "heartbeat.validate.monitors" -}}
{{- if and .podMonitor.enabled .serviceMonitor.enabled }}
{{- fail "metrics.podMonitor and metrics.serviceMonitor: one of the two, or every pod is scraped twice" }}
{{- end }}
{{- range $name := list "podMonitor" "serviceMonitor" }}
{{- with get $ $name }}
{{- if .scrapeTimeout }}
{{- if gt (include "heartbeat.seconds" .scrapeTimeout | int64) (include "heartbeat.seconds" .interval | int64) }}
{{- fail (printf "metrics.%s.scrapeTimeout %s: longer than the interval, %s" $name .scrapeTimeout .interval) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "heartbeat.validate.mesh" -}}
{{- if .mesh.enabled }}
{{- if ne .kind "DaemonSet" }}
{{- fail "mesh.enabled: needs kind DaemonSet, one pod per node" }}
{{- end }}
{{- if has (int64 .mesh.port) (list (int64 .config.port) (int64 (default 0 .config.adminPort))) }}
{{- fail (printf "mesh.port %d: the server has the same" (int64 .mesh.port)) }}
{{- end }}
{{- if and .hostNetwork (eq .dnsPolicy "Default") }}
{{- fail "dnsPolicy Default: mesh.enabled needs the cluster's DNS; leave it empty" }}
{{- end }}
{{- end }}
{{- end }}
