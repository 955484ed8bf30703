"""Every method of the paper in floating-point PyTorch: a short file each, to be read beside its equation.

Neftci, Mostafa & Zenke, "Surrogate Gradient Learning in Spiking Neural Networks" (2019), "the paper". The core
computes the local ones in fixed point; the others are references and teachers, and run in the loop.

| method                                     | in the paper           | file          |
| ------------------------------------------ | ---------------------- | ------------- |
| the network in time (LIF neurons)          | eq. 4, 5               | forward.py    |
| losses and their errors                    |                        | losses.py     |
| back-propagation through time              | eq. 7                  | bptt.py       |
| real-time recurrent learning               | eq. 8                  | rtrl.py       |
| e-prop; the factored three-factor rule     | eq. 10-12              | eprop.py      |
| SuperSpike and the van Rossum distance     | eq. 9-13               | superspike.py |
| symmetric feedback and feedback alignment  | Fig. 5a, 5b, 5c        | feedback.py   |
| eRBP                                       | Fig. 5c                | erbp.py       |
| local errors (DECOLLE, DCLL)               | eq. 14                 | decolle.py    |
| gradients of spike times, temporal XOR     | eq. 15, Fig. 7         | spike_time.py |
| SpikeProp                                  | with eq. 15            | spikeprop.py  |
| soft threshold, escape noise, f-I curve    | section IV.A           | smooth.py     |
| counting what a method keeps in memory     |                        | memory.py     |

Networks are described by `relif.Network`; of its learning rule only the output is used here. The methods that run
forward in time have one form: `tick` takes the spikes of tick n and leaves the state at n+1; `gradient` is then
dE[n+1]/dW by projection, (pre, post), summed over the batch, and leaves the weights alone: an update is -eta of it, at
every tick or of the sum over ticks. SuperSpike and eRBP, whose errors have a memory, do both in one call, `learn`.
`state_elements` counts what is held. All is in double precision, in the units of `relif.Network`.
"""
