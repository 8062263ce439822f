{{/* A load from several pods: its names are not the server's, so that no Service or monitor of the server takes it. */}}
{{- define "heartbeat.load.selectorLabels" -}}
app.kubernetes.io/name: {{ printf "%s-load" (include "heartbeat.name" . | trunc 57 | trimSuffix "-") | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* A Job cannot be changed: one with other values has another name, and Helm deletes the old one. An upgrade that changes
     nothing of the load keeps the Job, and so does not begin it anew. */}}
{{- define "heartbeat.load.fullname" -}}
{{- $spec := include "heartbeat.load.spec" (dict "root" . "name" "") }}
{{- printf "%s-load-%s" (include "heartbeat.fullname" . | trunc 40 | trimSuffix "-") (sha256sum $spec | trunc 8) }}
{{- end }}

{{- define "heartbeat.load.args" -}}
- load
{{- $path := printf "%s/1024" (trimSuffix "/" .Values.config.uri) }}
{{- $own := printf "http://%s:%v%s" (include "heartbeat.fullname" .) .Values.service.port $path }}
{{- range default (list $own) .Values.load.urls }}
- {{ . | quote }}
{{- end }}
{{- range $option := list "rate" "connections" }}
{{- $value := get $.Values.load $option }}
{{- if not (kindIs "invalid" $value) }}
- --{{ $option }}={{ kindIs "float64" $value | ternary (toJson $value) $value }}
{{- end }}
{{- end }}
- --warm-up={{ .Values.load.warmUp }}
- --duration={{ .Values.load.duration }}
- --start-at=$(START_AT)
- --json
{{- with .Values.load.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Ten minutes to be scheduled and to be told when to begin, the load itself, and a minute to end. */}}
{{- define "heartbeat.load.deadline" -}}
{{- $warm := include "heartbeat.seconds" .Values.load.warmUp | int64 }}
{{- $duration := include "heartbeat.seconds" .Values.load.duration | int64 }}
{{- default (add 660 $warm $duration) .Values.load.activeDeadlineSeconds | int64 }}
{{- end }}

{{/* The spec of the Job: `root`, and the Job's `name`. */}}
{{- define "heartbeat.load.spec" -}}
{{- $values := .root.Values }}
# One pod for each index, all at the same time.
completionMode: Indexed
completions: {{ $values.load.pods }}
parallelism: {{ $values.load.pods }}
# A pod that failed its load is not repeated, and the others send on to their end.
backoffLimitPerIndex: 0
activeDeadlineSeconds: {{ include "heartbeat.load.deadline" .root }}
template:
  metadata:
    labels:
      {{- include "heartbeat.labels" (dict "root" .root "of" "heartbeat.load" "labels" $values.load.podLabels) | nindent 6 }}
    {{- with merge (deepCopy $values.load.podAnnotations) $values.commonAnnotations }}
    annotations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
  spec:
    restartPolicy: Never
    {{- with include "heartbeat.probe.serviceAccountName" .root }}
    serviceAccountName: {{ . }}
    {{- end }}
    # It never talks to the API server.
    automountServiceAccountToken: false
    # Options come from the environment too, and the prober's have no prefix.
    enableServiceLinks: false
    securityContext:
      {{- toYaml $values.podSecurityContext | nindent 6 }}
      seccompProfile:
        type: RuntimeDefault
    {{- with $values.imagePullSecrets }}
    imagePullSecrets:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with $values.load.priorityClassName }}
    priorityClassName: {{ . }}
    {{- end }}
    {{- range $field := list "nodeSelector" "tolerations" "affinity" }}
    {{- with get $values.load $field }}
    {{ $field }}:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- end }}
    # Pods on one node would share its network card and its CPUs.
    topologySpreadConstraints:
      - maxSkew: 1
        topologyKey: kubernetes.io/hostname
        whenUnsatisfiable: ScheduleAnyway
        labelSelector:
          matchLabels:
            {{- include "heartbeat.load.selectorLabels" .root | nindent 12 }}
    containers:
      {{- include "heartbeat.load.container" . | trim | nindent 6 }}
{{- end }}

{{- define "heartbeat.load.container" -}}
{{- $values := .root.Values }}
- name: load
  image: {{ include "heartbeat.image" (dict "root" .root "image" $values.probe.image) }}
  imagePullPolicy: {{ $values.probe.image.pullPolicy }}
  args:
    {{- include "heartbeat.load.args" .root | trim | nindent 4 }}
  env:
    - name: START_AT
      {{- with $values.load.startAt }}
      value: {{ kindIs "float64" . | ternary (int64 .) . | quote }}
      {{- else }}
      # The container is not started before this exists: pods are scheduled and images are pulled by then.
      valueFrom:
        configMapKeyRef:
          name: {{ .name }}-start
          key: START_AT
      {{- end }}
  resources:
    {{- toYaml $values.load.resources | nindent 4 }}
  securityContext:
    {{- toYaml $values.securityContext | nindent 4 }}
{{- end }}
