"""The stages of the pipeline, one a module: on the way in, to the upstream, and with the answer on the way back."""
