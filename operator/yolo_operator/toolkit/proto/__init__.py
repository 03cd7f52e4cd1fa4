"""TAO's experiment spec as protobuf messages. The modules are generated: `make generate`."""
