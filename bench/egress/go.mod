module remit.example/bench/egress

go 1.24
