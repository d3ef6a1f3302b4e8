import pytest


@pytest.fixture(scope="package")
def traced_once():
    """Tracing is nearly all the time an export takes, and depends on nothing but the shapes of layers."""
    from pocketlm.export import compressed

    trace, kept = compressed._trace, {}

    def once(model, module):
        key = model.spec.architecture, tuple((one.name, *one.shape) for one in model.layers)
        if key not in kept:
            kept[key] = trace(model, module)
        return kept[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compressed, "_trace", once)
        yield
