glmc report
