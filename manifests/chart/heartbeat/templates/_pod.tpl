{{/* The pod template of both kinds. */}}
{{- define "heartbeat.pod" -}}
metadata:
  labels:
    {{- include "heartbeat.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- $annotations := dict }}
  {{- if .Values.metrics.annotations }}
  {{- $_ := set $annotations "prometheus.io/scrape" "true" }}
  {{- $_ := set $annotations "prometheus.io/port" (.Values.config.port | toString) }}
  {{- $_ := set $annotations "prometheus.io/path" "/metrics" }}
  {{- end }}
  {{- /* The parsers of manifests/monitoring/fluent-bit. */}}
  {{- if .Values.config.log }}
  {{- $_ := set $annotations "fluentbit.io/parser_stdout" (printf "heartbeat_%s" (default "tsv" .Values.config.logFormat)) }}
  {{- end }}
  {{- with merge (deepCopy .Values.podAnnotations) $annotations }}
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
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .Values.hostNetwork }}
  hostNetwork: true
  {{- end }}
  {{- with .Values.dnsPolicy }}
  dnsPolicy: {{ . }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
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
    - name: heartbeat
      image: {{ include "heartbeat.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      {{- with .Values.extraArgs }}
      args:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      env:
        {{- include "heartbeat.env" . | trim | nindent 8 }}
      ports:
        - name: http
          containerPort: {{ .Values.config.port }}
          {{- with .Values.hostPort }}
          hostPort: {{ . }}
          {{- end }}
      readinessProbe:
        httpGet:
          path: /readyz
          port: http
        {{- toYaml .Values.readinessProbe | nindent 8 }}
      livenessProbe:
        # Stays 200 through a drain, where /readyz does not.
        httpGet:
          path: /healthz
          port: http
        {{- toYaml .Values.livenessProbe | nindent 8 }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
{{- end }}
