from cvxqueue.fitting.curve import fit_curve
