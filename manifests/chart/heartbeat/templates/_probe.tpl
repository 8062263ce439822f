{{/* The prober's own names: the server's Service and monitors must not take it for one of theirs. */}}
{{- define "heartbeat.probe.fullname" -}}
{{- printf "%s-probe" (include "heartbeat.fullname" . | trunc 46 | trimSuffix "-") }}
{{- end }}

{{- define "heartbeat.probe.selectorLabels" -}}
app.kubernetes.io/name: {{ printf "%s-probe" (include "heartbeat.name" . | trunc 57 | trimSuffix "-") | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "heartbeat.probe.serviceAccountName" -}}
{{- $made := .Values.probe.serviceAccount.create | ternary (include "heartbeat.probe.fullname" .) "" }}
{{- default $made .Values.probe.serviceAccount.name }}
{{- end }}

{{/* As JSON: names of files, in the order they are asked. */}}
{{- define "heartbeat.probe.files" -}}
{{- $default := eq .Values.probe.mode "cron" | ternary "heartbeat-baseline.json" "heartbeat-load.json" }}
{{- default (list $default) .Values.probe.files | toJson }}
{{- end }}

{{- define "heartbeat.probe.args" -}}
{{- if eq .Values.probe.mode "loop" }}
- --run-loop
- --port
- "8080"
{{- else }}
# Any error at all fails the job: by default it takes ten where validation finds them.
- --max-errors
- "1"
- --verbose
- --verbose-errors
{{- end }}
- --log-format
- Json
{{- range $option := list "sleep" "rate" "region" "zone" }}
{{- $value := get $.Values.probe $option }}
{{- if and (not (kindIs "invalid" $value)) (ne (toString $value) "") }}
- --{{ $option }}
- {{ kindIs "float64" $value | ternary (toJson $value) $value | quote }}
{{- end }}
{{- end }}
- --server
{{- $own := printf "http://%s:%v" (include "heartbeat.fullname" .) .Values.service.port }}
{{- range default (list $own) .Values.probe.servers }}
- {{ . | quote }}
{{- end }}
- --files
{{- range include "heartbeat.probe.files" . | fromJsonArray }}
- {{ . | quote }}
{{- end }}
{{- with .Values.probe.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The pod template of both modes. */}}
{{- define "heartbeat.probe.pod" -}}
metadata:
  labels:
    {{- include "heartbeat.labels" (dict "root" . "of" "heartbeat.probe" "labels" .Values.probe.podLabels) | nindent 4 }}
  # A pod of the Deployment starts anew if its files change.
  {{- $annotations := dict "checksum/files" (include "heartbeat.probe.data" . | sha256sum) }}
  {{- if and .Values.metrics.annotations (eq .Values.probe.mode "loop") }}
  {{- $_ := set $annotations "prometheus.io/scrape" "true" }}
  {{- $_ := set $annotations "prometheus.io/port" "8080" }}
  {{- $_ := set $annotations "prometheus.io/path" "/metrics" }}
  {{- end }}
  annotations:
    {{- toYaml (merge (deepCopy .Values.probe.podAnnotations) $annotations .Values.commonAnnotations) | nindent 4 }}
spec:
  {{- if eq .Values.probe.mode "cron" }}
  restartPolicy: Never
  {{- end }}
  {{- with include "heartbeat.probe.serviceAccountName" . }}
  serviceAccountName: {{ . }}
  {{- end }}
  # It never talks to the API server.
  automountServiceAccountToken: false
  # Options come from the environment too, and the prober's have no prefix.
  enableServiceLinks: false
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
    seccompProfile:
      type: RuntimeDefault
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.probe.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- range $field := list "dnsConfig" "hostAliases" "nodeSelector" "tolerations" "affinity" }}
  {{- with get $.Values.probe $field }}
  {{ $field }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
  containers:
    {{- include "heartbeat.probe.container" . | nindent 4 }}
  volumes:
    - name: files
      configMap:
        name: {{ include "heartbeat.probe.fullname" . }}-files
    {{- with .Values.probe.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{- define "heartbeat.probe.container" -}}
- name: heartbeat-probe
  image: {{ include "heartbeat.image" (dict "root" . "image" .Values.probe.image) }}
  imagePullPolicy: {{ .Values.probe.image.pullPolicy }}
  args:
    {{- include "heartbeat.probe.args" . | trim | nindent 4 }}
  {{- with .Values.probe.extraEnv }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if eq .Values.probe.mode "loop" }}
  ports:
    - name: http
      containerPort: 8080
  readinessProbe:
    httpGet:
      path: /readyz
      port: http
    periodSeconds: 5
  livenessProbe:
    httpGet:
      path: /healthz
      port: http
    periodSeconds: 10
  {{- end }}
  resources:
    {{- toYaml .Values.probe.resources | nindent 4 }}
  securityContext:
    {{- toYaml .Values.securityContext | nindent 4 }}
  volumeMounts:
    # The image's working directory, which file names are relative to.
    - name: files
      mountPath: /app/TestFiles
      readOnly: true
    {{- with .Values.probe.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{/* The test files: the chart's own, and those of the values, which win. */}}
{{- define "heartbeat.probe.data" -}}
{{- range $name := include "heartbeat.probe.files" . | fromJsonArray }}
{{- $text := $.Files.Get (printf "files/%s" $name) }}
{{- with get $.Values.probe.testFiles $name }}
{{- $text = kindIs "string" . | ternary . (toPrettyJson .) }}
{{- end }}
{{- if not $text }}
{{- fail (printf "probe.files: %s is none of the chart's test files: put it into probe.testFiles" $name) }}
{{- end }}
{{ $name }}: |
  {{- $text | trim | nindent 2 }}
{{- end }}
{{- end }}
