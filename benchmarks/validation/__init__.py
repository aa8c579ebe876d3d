"""What shows that Radiarch's doses and figures are right, against sources outside of it; timing lives beside this."""
