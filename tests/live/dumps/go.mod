module pprofd/dumps

go 1.22

require (
	github.com/DataDog/gostackparse v0.7.0
	github.com/maruel/panicparse/v2 v2.3.1
)
