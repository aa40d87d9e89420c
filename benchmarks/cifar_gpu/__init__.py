"""CIFAR-100, ResNet-56 to ResNet-20, on the published 240-epoch schedule: many students on one GPU.

python -m benchmarks.cifar_gpu --data-root DIR --minutes 9

Written for a GPU that is lent in pieces. `signals` computes the teachers' outputs once for every
crop there is, `student` replays each student's step as a CUDA graph on a stream of its own, and
what is not finished when the minutes are over goes on with the next call. `plan` has the constants
and the published figures that KD and DKD must reach first.
"""
