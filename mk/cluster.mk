# A real API server, for what no schema knows.

.PHONY: check-cluster

check-cluster: ## Apply everything to a real API server; NODES=100 ONLY=ipv4 ROWS=chart
	sh mk/check-cluster/run.sh
