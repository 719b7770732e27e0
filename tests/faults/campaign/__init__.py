"""Kills processes of sweeps at random, resumes, and checks what must hold whatever was killed.

    python -m tests.faults.campaign --sweeps 30 --seed 0

A sweep's driver, a trial's process, another worker of its group or a node is killed up to three
times, at any moment between the command and its last line; then ``c2vl-sweep resume`` runs to the
end. Half of the sweeps run on a local cluster of three node processes, the others on a Ray of their
own; half of the trials train on a group of two workers. The seed fixes what is planned; the moment
that a kill meets is the machine's. The same command goes on with the sweeps that are left.
"""
