"""What the pipeline does with a request, one step a module: on the way in, to its upstream, and with its answer on the way back."""
