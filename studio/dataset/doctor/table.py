"""All checks in the order in which a person would go through them, worst first."""

from studio.dataset.doctor.checks import copies, looks, shape, whole, words

CHECKS = {
    check.key: check
    for check in sorted(
        (*whole.CHECKS, *copies.CHECKS, *looks.CHECKS, *shape.CHECKS, *words.CHECKS), key=lambda check: (not check.weight, -check.weight)
    )
}
