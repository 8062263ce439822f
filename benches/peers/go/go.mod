module heartbeat-peer

go 1.19
