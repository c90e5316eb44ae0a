SELECT seq FROM hazfence.reference_change;
