"""One run of the graph."""

FLOW_THREAD = "prefect-flow"  # name of the thread that runs the flow
