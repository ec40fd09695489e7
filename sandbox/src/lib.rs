//! Exchange and Planner as local servers that speak the real protocols, with fault injection.
