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

{{/* What a workload and its Service select by. It can not change in the life of a release. */}}
{{- define "heartbeat.selectorLabels" -}}
app.kubernetes.io/name: {{ include "heartbeat.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "heartbeat.labels" -}}
{{ include "heartbeat.selectorLabels" . }}
{{ include "heartbeat.otherLabels" . }}
{{- end }}

{{- define "heartbeat.otherLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The head of every object but its kind. */}}
{{- define "heartbeat.metadata" -}}
name: {{ include "heartbeat.fullname" . }}
namespace: {{ include "heartbeat.namespace" . }}
labels:
  {{- include "heartbeat.labels" . | nindent 2 }}
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

{{- define "heartbeat.image" -}}
{{- with .Values.image }}
{{- if .digest }}
{{- printf "%s@%s" .repository .digest }}
{{- else }}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) }}
{{- end }}
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

{{/* HB_MAX_CONNECTIONS for maxConnections, and so on. Whole numbers come as floats, which would print as 1e+06. */}}
{{- define "heartbeat.env" -}}
{{- range $option, $value := .Values.config }}
{{- if not (kindIs "invalid" $value) }}
- name: HB_{{ snakecase $option | upper }}
  value: {{ (kindIs "float64" $value) | ternary (int64 $value) $value | toString | quote }}
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Of the monitors: the alerts and the dashboard go by job, and ask which node it is. */}}
{{- define "heartbeat.relabelings" -}}
- targetLabel: job
  replacement: heartbeat
- sourceLabels: [__meta_kubernetes_pod_node_name]
  targetLabel: node
{{- end }}
