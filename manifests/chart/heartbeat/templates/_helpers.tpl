{{/* Names are cut to 63 characters: some end up in labels and DNS. */}}
{{- define "heartbeat.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "heartbeat.fullname" -}}
{{- $name := include "heartbeat.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* What a workload and its Service select by. It cannot change in the life of a release. */}}
{{- define "heartbeat.selectorLabels" -}}
app.kubernetes.io/name: {{ include "heartbeat.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "heartbeat.chartLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* All labels of an object, as YAML: `root`; `of`, the prefix of the template with its selector labels; `labels` of its
     own. The chart's own come first, then the object's, then the common ones. */}}
{{- define "heartbeat.labels" -}}
{{- $selector := include (printf "%s.selectorLabels" (default "heartbeat" .of)) .root | fromYaml }}
{{- $chart := include "heartbeat.chartLabels" .root | fromYaml }}
{{- toYaml (merge $selector $chart (default dict .labels) .root.Values.commonLabels) }}
{{- end }}

{{/* The metadata of an object: as for its labels, and `name`, `namespace`, `annotations`, `clusterWide`. */}}
{{- define "heartbeat.metadata" -}}
name: {{ default (include (printf "%s.fullname" (default "heartbeat" .of)) .root) .name }}
{{- if not .clusterWide }}
namespace: {{ default (include "heartbeat.namespace" .root) .namespace }}
{{- end }}
labels:
  {{- include "heartbeat.labels" . | nindent 2 }}
{{- with merge (deepCopy (default dict .annotations)) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "heartbeat.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride }}
{{- end }}

{{- define "heartbeat.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "heartbeat.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* The name of `image`. A registry for all takes the place of the one in its repository. A published chart lists its images
     with their digests, and names them so where nothing in the values differs from that list. */}}
{{- define "heartbeat.image" -}}
{{- $repository := .image.repository }}
{{- with (.root.Values.global).imageRegistry }}
{{- $path := regexReplaceAll "^(localhost|[^/]*[.:][^/]*)/" $repository "" }}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) $path }}
{{- end }}
{{- if and .image.digest .image.tag }}
{{- printf "%s:%s@%s" $repository .image.tag .image.digest }}
{{- else if .image.digest }}
{{- printf "%s@%s" $repository .image.digest }}
{{- else }}
{{- $name := printf "%s:%s" $repository (default .root.Chart.AppVersion .image.tag) }}
{{- if not .image.tag }}
{{- range index .root.Chart.Annotations "artifacthub.io/images" | fromYamlArray }}
{{- if hasPrefix (printf "%s@" $name) .image }}
{{- $name = .image }}
{{- end }}
{{- end }}
{{- end }}
{{- $name }}
{{- end }}
{{- end }}

{{- define "heartbeat.podSecurityContext" -}}
{{ toYaml .Values.podSecurityContext }}
seccompProfile:
  type: {{ .Values.seccomp.type }}
  {{- if eq .Values.seccomp.type "Localhost" }}
  localhostProfile: {{ .Values.seccomp.localhostProfile }}
  {{- end }}
{{- end }}

{{/* Whole seconds of a duration such as 500ms, 10s, 2m or 1h, rounded up. */}}
{{- define "heartbeat.seconds" -}}
{{- $number := regexFind "^[0-9]+" . | int64 }}
{{- $unit := regexFind "[a-z]+$" . }}
{{- if eq $unit "ms" }}{{ div (add $number 999) 1000 }}
{{- else }}{{ mul $number (get (dict "s" 1 "m" 60 "h" 3600) $unit) }}
{{- end }}
{{- end }}

{{- define "heartbeat.gracePeriod" -}}
{{- $delay := include "heartbeat.seconds" (default "3s" .Values.config.drainDelay) | int64 }}
{{- $timeout := include "heartbeat.seconds" (default "25s" .Values.config.drainTimeout) | int64 }}
{{- $drain := add $delay $timeout }}
{{- $grace := .Values.terminationGracePeriodSeconds }}
{{- if kindIs "invalid" $grace }}{{ add $drain 7 }}
{{- else if lt (int64 $grace) $drain }}
{{- fail (printf "terminationGracePeriodSeconds %d is less than the drain takes, drainDelay + drainTimeout = %d s" (int64 $grace) $drain) }}
{{- else }}{{ $grace }}
{{- end }}
{{- end }}

{{/* HB_MAX_CONNECTIONS for maxConnections, and so on, but not what extraEnv sets: a name may be there once. */}}
{{- define "heartbeat.env" -}}
{{- $taken := list }}
{{- range .Values.extraEnv }}
{{- $taken = append $taken .name }}
{{- end }}
{{- $fields := dict "node" "spec.nodeName" "zone" "metadata.labels['topology.kubernetes.io/zone']" }}
{{- range $option, $value := .Values.config }}
{{- $name := printf "HB_%s" (snakecase $option | upper) }}
{{- if has $name $taken }}
{{- else if not (kindIs "invalid" $value) }}
- name: {{ $name }}
  value: {{ include "heartbeat.text" (dict "option" $option "value" $value) | quote }}
{{- else if hasKey $fields $option }}
- name: {{ $name }}
  valueFrom:
    fieldRef:
      fieldPath: {{ get $fields $option }}
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Whole numbers come as floats, which would print as 1e+06, and an unquoted `on` as true. */}}
{{- define "heartbeat.text" -}}
{{- if kindIs "float64" .value }}{{ int64 .value }}
{{- else if and (eq .option "tcpMetrics") (kindIs "bool" .value) }}{{ ternary "on" "off" .value }}
{{- else }}{{ .value }}
{{- end }}
{{- end }}

{{/* The port of the pod that serves /metrics. */}}
{{- define "heartbeat.metricsPort" -}}
{{- ternary "admin" "http" (not (empty .Values.config.adminPort)) }}
{{- end }}

{{/* The port that the kubelet asks. An address of its own may be one that the kubelet does not reach. */}}
{{- define "heartbeat.probedPort" -}}
{{- ternary "admin" "http" (and (not (empty .Values.config.adminPort)) (empty .Values.config.adminAddress)) }}
{{- end }}

{{/* Of the monitors: the alerts and the dashboard go by job, and ask which node it is. */}}
{{- define "heartbeat.relabelings" -}}
- targetLabel: job
  replacement: {{ . }}
- sourceLabels: [__meta_kubernetes_pod_node_name]
  targetLabel: node
{{- end }}

{{/* The tail of a monitor's endpoint, after its port: `monitor` and `job`. */}}
{{- define "heartbeat.endpoint" -}}
path: /metrics
interval: {{ .monitor.interval }}
{{- with .monitor.scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
relabelings:
  {{- include "heartbeat.relabelings" .job | nindent 2 }}
  {{- with .monitor.relabelings }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .monitor.metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What a monitor selects: `root`, `of` and `monitor`. */}}
{{- define "heartbeat.monitored" -}}
{{- with .monitor.namespace }}
namespaceSelector:
  matchNames: [{{ include "heartbeat.namespace" $.root }}]
{{- end }}
selector:
  matchLabels:
    {{- include (printf "%s.selectorLabels" (default "heartbeat" .of)) .root | nindent 4 }}
{{- end }}

{{/* A file of the chart, by `root` and `name`. An archiver may have left it out: an object without it would be accepted
     and do nothing. */}}
{{- define "heartbeat.file" -}}
{{- $text := .root.Files.Get (printf "files/%s" .name) | trim }}
{{- if not $text }}
{{- fail (printf "files/%s is missing or empty in this copy of the chart: take the chart from its registry, or copy the whole folder" .name) }}
{{- end }}
{{- $text }}
{{- end }}
