{{/* The mesh: a prober beside each server, which asks its neighbours. Its names are not the server's: the server's
     monitors must not take its Service for the server's. */}}
{{- define "heartbeat.mesh.fullname" -}}
{{- printf "%s-mesh" (include "heartbeat.fullname" . | trunc 46 | trimSuffix "-") }}
{{- end }}

{{- define "heartbeat.mesh.selectorLabels" -}}
app.kubernetes.io/name: {{ printf "%s-mesh" (include "heartbeat.name" . | trunc 57 | trimSuffix "-") | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "heartbeat.mesh.args" -}}
- mesh
- {{ printf "%s:%v" (include "heartbeat.mesh.fullname" .) .Values.config.port | quote }}
- --port={{ .Values.mesh.port }}
- --uri={{ .Values.config.uri }}
- --neighbors={{ .Values.mesh.neighbors }}
- --interval={{ .Values.mesh.interval }}
- --self=$(MESH_ADDRESS)
- --node=$(MESH_NODE)
- --zone=$(MESH_ZONE)
{{- with .Values.mesh.sizes }}
- --sizes={{ include "heartbeat.mesh.sizes" . }}
{{- end }}
{{- with .Values.mesh.uploadSizes }}
- --upload-sizes={{ include "heartbeat.mesh.sizes" . }}
{{- end }}
{{- with .Values.mesh.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Whole numbers come as floats, which would print as 1e+06. */}}
{{- define "heartbeat.mesh.sizes" -}}
{{- range $index, $size := . }}
{{- if $index }},{{ end }}{{ if kindIs "float64" $size }}{{ int64 $size }}{{ else }}{{ $size }}{{ end }}
{{- end }}
{{- end }}

{{/* MESH_NODE and MESH_ZONE: what the server says of itself. */}}
{{- define "heartbeat.mesh.env" -}}
- name: MESH_ADDRESS
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
{{- range $option, $path := dict "node" "spec.nodeName" "zone" "metadata.labels['topology.kubernetes.io/zone']" }}
- name: MESH_{{ upper $option }}
  {{- $value := get $.Values.config $option }}
  {{- if kindIs "invalid" $value }}
  valueFrom:
    fieldRef:
      fieldPath: {{ $path }}
  {{- else }}
  value: {{ $value | quote }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "heartbeat.mesh.container" -}}
- name: heartbeat-mesh
  image: {{ include "heartbeat.image" (dict "root" . "image" .Values.probe.image) }}
  imagePullPolicy: {{ .Values.probe.image.pullPolicy }}
  args:
    {{- include "heartbeat.mesh.args" . | trim | nindent 4 }}
  env:
    {{- include "heartbeat.mesh.env" . | trim | nindent 4 }}
  ports:
    - name: mesh
      containerPort: {{ .Values.mesh.port }}
  # There is no readiness probe: the server answers without its neighbour's help.
  livenessProbe:
    httpGet:
      path: /healthz
      port: mesh
    periodSeconds: 10
  resources:
    {{- toYaml .Values.mesh.resources | nindent 4 }}
  securityContext:
    {{- toYaml .Values.securityContext | nindent 4 }}
{{- end }}
