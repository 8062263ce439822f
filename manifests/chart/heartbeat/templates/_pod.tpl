{{/* The pod template of both kinds. */}}
{{- define "heartbeat.pod" -}}
metadata:
  labels:
    {{- include "heartbeat.labels" (dict "root" . "labels" .Values.podLabels) | nindent 4 }}
  {{- $annotations := dict }}
  {{- if .Values.metrics.annotations }}
  {{- $_ := set $annotations "prometheus.io/scrape" "true" }}
  {{- $_ := set $annotations "prometheus.io/port" (default .Values.config.port .Values.config.adminPort | int64 | toString) }}
  {{- $_ := set $annotations "prometheus.io/path" "/metrics" }}
  {{- end }}
  {{- /* The parsers of manifests/monitoring/fluent-bit. */}}
  {{- if .Values.config.log }}
  {{- $_ := set $annotations "fluentbit.io/parser_stdout" (printf "heartbeat_%s" (default "tsv" .Values.config.logFormat)) }}
  {{- end }}
  {{- with merge (deepCopy .Values.podAnnotations) $annotations .Values.commonAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "heartbeat.serviceAccountName" . }}
  automountServiceAccountToken: false
  # A Service called heartbeat would put HEARTBEAT_PORT=tcp://... and more into the pod.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "heartbeat.gracePeriod" . }}
  securityContext:
    {{- include "heartbeat.podSecurityContext" . | nindent 4 }}
  {{- if .Values.hostNetwork }}
  hostNetwork: true
  {{- end }}
  {{- $mesh := and .Values.mesh.enabled .Values.hostNetwork }}
  {{- with default (ternary "ClusterFirstWithHostNet" "" $mesh) .Values.dnsPolicy }}
  dnsPolicy: {{ . }}
  {{- end }}
  {{- range $field := list "priorityClassName" "runtimeClassName" }}
  {{- with get $.Values $field }}
  {{ $field }}: {{ . }}
  {{- end }}
  {{- end }}
  {{- range $field := list "imagePullSecrets" "nodeSelector" "affinity" }}
  {{- with get $.Values $field }}
  {{ $field }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
  {{- $all := eq .Values.kind "DaemonSet" | ternary (list (dict "operator" "Exists")) list }}
  {{- with kindIs "invalid" .Values.tolerations | ternary $all .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if and (eq .Values.kind "Deployment") .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range .Values.topologySpreadConstraints }}
    {{- $own := dict "labelSelector" (dict "matchLabels" (include "heartbeat.selectorLabels" $ | fromYaml)) }}
    {{- toYaml (list (merge (deepCopy .) $own)) | nindent 4 }}
    {{- end }}
  {{- end }}
  containers:
    {{- include "heartbeat.container" . | nindent 4 }}
    {{- if .Values.mesh.enabled }}
    {{- include "heartbeat.mesh.container" . | nindent 4 }}
    {{- end }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.extraVolumes }}
  volumes:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "heartbeat.container" -}}
- name: heartbeat
  image: {{ include "heartbeat.image" (dict "root" . "image" .Values.image) }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  {{- with .Values.extraArgs }}
  args:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  env:
    {{- include "heartbeat.env" . | trim | nindent 4 }}
  {{- with .Values.extraEnvFrom }}
  envFrom:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  ports:
    - name: http
      containerPort: {{ .Values.config.port }}
      {{- with .Values.hostPort }}
      hostPort: {{ . }}
      {{- end }}
    {{- with .Values.config.adminPort }}
    - name: admin
      containerPort: {{ . }}
    {{- end }}
  readinessProbe:
    httpGet:
      path: /readyz
      port: {{ include "heartbeat.probedPort" . }}
    {{- toYaml .Values.readinessProbe | nindent 4 }}
  livenessProbe:
    # Stays 200 through a drain, unlike /readyz.
    httpGet:
      path: /healthz
      port: {{ include "heartbeat.probedPort" . }}
    {{- toYaml .Values.livenessProbe | nindent 4 }}
  resources:
    {{- toYaml .Values.resources | nindent 4 }}
  securityContext:
    {{- toYaml .Values.securityContext | nindent 4 }}
  {{- with .Values.extraVolumeMounts }}
  volumeMounts:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
